"""Async generators: what a running loop is told of them.

``run_forever()`` gives ``sys.set_asyncgen_hooks()`` two of the loop's own methods, and the loop
keeps each generator that it is told of in ``_asyncgens`` until it is closed or collected
(``asyncio/base_events.py``).
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

from pytest_loopsafe._cpython.loops import BaseEventLoop
from pytest_loopsafe._cpython.topic import Topic
from pytest_loopsafe._cpython.trial import trial_loop

FIRST_ITERATION = (BaseEventLoop, "_asyncgen_firstiter_hook")
"""What a running loop is told of each generator that is iterated for the first time."""

FINALIZER = (BaseEventLoop, "_asyncgen_finalizer_hook")
"""What it is told of one that is collected unfinished."""


def open_asyncgens(loop: Any) -> list[Any]:
    """The unfinished async generators of a loop; none where it does not list them."""
    return list(getattr(loop, "_asyncgens", ()))


def _sees_asyncgens() -> bool:
    async def items() -> AsyncIterator[None]:
        yield

    async def look(loop: Any) -> bool:
        hooks: Any = sys.get_asyncgen_hooks()
        hooked = (hooks.firstiter.__func__, hooks.finalizer.__func__)
        generator: Any = items()
        await anext(generator)
        listed = open_asyncgens(loop) == [generator]
        await generator.aclose()
        return listed and hooked == (getattr(*FIRST_ITERATION), getattr(*FINALIZER))

    with trial_loop() as loop:
        seen: bool = loop.run_until_complete(look(loop))
        return seen


TOPICS = (Topic("async generators", ("LS201", "LS302"), _sees_asyncgens),)
