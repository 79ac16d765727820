"""Asyncio's debug mode: where a handle, a task, a future or a loop was made.

``events.Handle.__init__`` and ``futures.Future.__init__`` keep ``_source_traceback`` where their
loop is in debug mode; the loop's own methods take their own frame off its end
(``BaseEventLoop.call_soon``).
"""

from __future__ import annotations

import operator
import os
from asyncio import base_events
from collections.abc import Callable
from typing import Any

from pytest_loopsafe._cpython.topic import Topic
from pytest_loopsafe._cpython.trial import trial_loop

_OURS = os.path.dirname(os.path.dirname(__file__))


in_debug: Callable[[Any], bool] = operator.attrgetter("_debug")
"""Whether one of asyncio's own loops is in debug mode, without the price of a Python function."""


def keeps_debug_traceback(method: Any) -> bool:
    """Whether a method belongs to asyncio's own loops, whose handles remember where they were made.

    True in debug mode only, which such loops keep in ``_debug``.
    """
    return getattr(method, "__globals__", None) is vars(base_events)


def forget_hook(handle: Any) -> None:
    """Take our frames off the place where a handle was made, as asyncio takes its own off."""
    made = getattr(handle, "_source_traceback", None)
    while made and made[-1].filename.startswith(_OURS) and made[-1].name in _HOOKED:
        del made[-1]


_HOOKED = ("call_soon", "call_at", "create_task")
"""The names of our functions in the place of asyncio's."""


def source_traceback(thing: Any) -> Any:
    """Where a future, task or loop was made, when asyncio's debug mode recorded it."""
    return getattr(thing, "_source_traceback", None)


def _shows_tracebacks() -> bool:
    with trial_loop() as loop:
        loop.set_debug(True)
        handle = loop.call_soon(print)
        handle.cancel()
        made = source_traceback(handle)
        return in_debug(loop) is True and made[-1].name == _shows_tracebacks.__name__


TOPICS = (Topic("what asyncio's debug mode keeps", (), _shows_tracebacks),)
