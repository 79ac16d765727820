"""Runners: the loop that ``asyncio.run()`` is about to end, and who installs one.

``Runner.close()`` cancels the tasks that are left before it closes ``_loop``
(``asyncio/runners.py``): what was left is seen only by who looks at that loop first.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from typing import Any

from pytest_loopsafe._cpython.topic import Topic
from pytest_loopsafe._cpython.trial import trial_loop

LOOP_SETTERS: tuple[Any, ...] = (asyncio, events)
"""Where ``set_event_loop`` is looked up; a Runner calls it through the second."""


def runner_loop(runner: Any) -> asyncio.AbstractEventLoop | None:
    """The loop of a Runner, without making one."""
    loop: asyncio.AbstractEventLoop | None = getattr(runner, "_loop", None)
    return loop


def _tells_loop() -> bool:
    with trial_loop() as loop:
        runner = asyncio.Runner(loop_factory=lambda: loop)
        had_none = runner_loop(runner) is None
        return runner.get_loop() is loop and had_none and runner_loop(runner) is loop


def _sees_setters() -> bool:
    return all(hasattr(owner, "set_event_loop") for owner in LOOP_SETTERS)


TOPICS = (
    Topic("a Runner's loop before it ends", ("LS207", "LS301", "LS306"), _tells_loop),
    Topic("who installs a loop", ("LS305",), _sees_setters),
)
