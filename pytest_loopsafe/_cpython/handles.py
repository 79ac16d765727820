"""Handles: what is scheduled on a loop, and which timers have still to ring.

``BaseEventLoop`` keeps what is due in ``_ready`` and its timers in ``_scheduled``; a timer says by
``_scheduled`` of its own whether it is in that heap (``asyncio/base_events.py``, ``events.py``).
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from pytest_loopsafe._cpython.topic import Topic
from pytest_loopsafe._cpython.trial import trial_loop

_FEW = 20
"""The callbacks of one future are due one after the other."""


def timer_loop(handle: Any) -> asyncio.AbstractEventLoop | None:
    """The loop that a timer was set in."""
    loop: asyncio.AbstractEventLoop | None = getattr(handle, "_loop", None)
    return loop


def is_due(handle: Any) -> bool:
    """Whether a timer has still to ring; one that its loop took with it, never will."""
    return bool(getattr(handle, "_scheduled", False)) and not handle.cancelled()


def due_timers(loop: Any) -> list[Any]:
    """The timers of a loop that have still to ring; none where a loop does not show them."""
    return [handle for handle in tuple(getattr(loop, "_scheduled", ())) if is_due(handle)]


def timer_callback(handle: Any) -> Any:
    """What a timer is to call."""
    return getattr(handle, "_callback", None)


def is_waiting(handle: Any, loop: Any) -> bool:
    """Whether what was scheduled on a loop has still to run."""
    waiting = (*tuple(getattr(loop, "_ready", ())), *tuple(getattr(loop, "_scheduled", ())))
    return not handle.cancelled() and any(one is handle for one in waiting)


def is_told_to_others(future: Any, loop: Any) -> bool:
    """Whether somebody's callback is due that is given this future; while none of its own runs."""
    due = itertools.islice(getattr(loop, "_ready", ()), _FEW)
    return any(args and args[0] is future for args in (getattr(one, "_args", ()) for one in due))


def told_of(handle: Any) -> Any:
    """The future that what is scheduled is told the end of, and of nothing else; None for none."""
    args: Any = getattr(handle, "_args", ())
    is_it = len(args) == 1 and issubclass(type(args[0]), asyncio.Future)
    return args[0] if is_it and args[0].done() else None


def is_in_future(handle: Any, loop: Any) -> bool:
    """Whether a timer is not due yet."""
    return isinstance(handle, asyncio.TimerHandle) and handle.when() > loop.time()


def is_stop(handle: Any, loop: Any) -> bool:
    """Whether what was scheduled is to stop the loop."""
    callback: Any = getattr(handle, "_callback", None)
    return getattr(callback, "__self__", None) is loop and callback.__name__ == "stop"


def _lists_timers() -> bool:
    with trial_loop() as loop:
        timer = loop.call_later(3600, print)
        seen = timer_loop(timer) is loop and timer_callback(timer) is print
        seen &= is_due(timer) and due_timers(loop) == [timer]
        timer.cancel()
        return seen and not is_due(timer) and due_timers(loop) == []


def _lists_scheduled() -> bool:
    with trial_loop() as loop:
        stop, timer = loop.call_soon(loop.stop), loop.call_later(3600, print)
        seen = is_stop(stop, loop) and not is_stop(timer, loop)
        stop.cancel()
        seen &= is_in_future(timer, loop) and not is_in_future(stop, loop)
        ready = loop.call_soon(bool)
        seen &= is_waiting(timer, loop) and is_waiting(ready, loop)
        loop.turn()
        seen &= is_waiting(timer, loop) and not is_waiting(ready, loop)
        timer.cancel()
        return seen


def _sees_who_is_told() -> bool:
    with trial_loop() as loop:
        future = loop.create_future()
        future.add_done_callback(bool)
        seen = not is_told_to_others(future, loop)
        future.set_result(None)
        seen &= is_told_to_others(future, loop) and told_of(loop._ready[0]) is future
        loop.turn()
        return seen and not is_told_to_others(future, loop)


TOPICS = (
    Topic("which timers have still to ring", ("LS201", "LS207"), _lists_timers),
    Topic("what is scheduled on a loop", ("LS105",), _lists_scheduled),
    Topic("who is told that a future is done", ("LS307",), _sees_who_is_told),
)
