"""Loops: which one runs here, which thread runs it, and what a closed one refuses with.

``BaseEventLoop.call_soon`` and the like ask ``_check_closed()`` first (``asyncio/base_events.py``),
which raises for all of them. ``run_forever()`` notes its thread in ``_thread_id``, and is the only
one to do so.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import threading
import traceback
from asyncio import base_events, events
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

from pytest_loopsafe._cpython.topic import Topic, find

get_running_loop: Callable[[], asyncio.AbstractEventLoop | None] = find(
    "events", "_get_running_loop", lambda: None
)
set_running_loop: Callable[[asyncio.AbstractEventLoop | None], None] = find(
    "events", "_set_running_loop", lambda loop: None
)

_swap_current_task: Callable[[Any, Any], Any] = find(
    "tasks", "_swap_current_task", lambda loop, task: None
)
"""From 3.12 on; before that each loop has a current task of its own, and nothing is to be done."""

BaseEventLoop = base_events.BaseEventLoop

CLOSED_CHECK = (BaseEventLoop, "_check_closed")
"""What each method of asyncio's loops that a closed one refuses asks first."""

CLOSED_MARK = "_closed"
"""Where that looks: whether one of asyncio's loops is closed."""


_of_parents: list[Any] = []
"""What a child has forgotten, kept: a loop's finalizer would take its descriptors out of a selector
that the parent has, too."""


def forget_loops_of_parent() -> None:
    """Have a forked child know of no running loop and of none that was installed.

    Python does so itself from 3.12 on (``asyncio.events.on_fork``). Before that, a child takes
    over the loop that a plugin or an async test of the parent has installed, and a worker that is
    started by hand has none.
    """
    set_running_loop(None)
    policy: Any = getattr(events, "_event_loop_policy", None)
    if policy is not None and hasattr(policy, "_local"):
        _of_parents.append(policy._local)
        policy._local = type(policy._local)()


@contextmanager
def running(loop: Any) -> Iterator[None]:
    """Have this thread run a loop, or none, as far as asyncio knows; then again what it ran.

    The task that runs meanwhile is set aside with its loop: from 3.14 on there is one for each
    thread, and no longer one for each loop (``enter_task`` in ``Modules/_asynciomodule.c``).
    """
    previous = get_running_loop()
    task = _swap_current_task(previous, None) if previous is not None else None
    set_running_loop(loop)
    try:
        yield
    finally:
        set_running_loop(previous)
        if previous is not None:
            _swap_current_task(previous, task)


def run_ready(loop: Any, *, threaded: bool = False) -> None:
    """Run what is scheduled on a loop that has no selector, once, as ``_run_once`` would.

    Args:
        loop: the loop.
        threaded: as in ``run_forever``, which notes its thread.
    """
    previous = loop_thread(loop)
    with running(loop):
        if threaded:
            loop._thread_id = threading.get_ident()
        try:
            for _ in range(len(loop._ready)):
                loop._ready.popleft()._run()
        finally:
            loop._thread_id = previous


def raised_by(error: BaseException) -> CodeType:
    """The code that raised an error which has been caught."""
    return [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)][-1]


def shows_connections(loop: object) -> bool:
    """Whether a loop's transports can be seen when they are made; uvloop's are compiled."""
    return isinstance(loop, BaseEventLoop)


def shows_kind(kind: str) -> bool:
    """The same, of a loop that is gone, by the qualified name of its class."""
    return not kind.startswith("uvloop.")


def loop_thread(loop: Any) -> int | None:
    """The identifier of the thread that runs a loop now; None where that cannot be told."""
    ident: int | None = getattr(loop, "_thread_id", None)
    return ident


def watched_descriptors(loop: Any) -> set[int]:
    """The file descriptors that a loop watches; none where it does not show its selector."""
    selector = getattr(loop, "_selector", None)
    return set(getattr(selector, "get_map", dict)() or ())


def _tells_what_runs() -> bool:
    loop = BaseEventLoop()
    try:
        with running(loop):
            return get_running_loop() is loop and asyncio.get_running_loop() is loop
    finally:
        loop.close()


def _tells_threads() -> bool:
    from pytest_loopsafe._cpython.trial import trial_loop

    async def look(loop: Any) -> bool:
        return loop_thread(loop) == threading.get_ident()

    with trial_loop() as loop:
        return loop_thread(loop) is None and loop.run_until_complete(look(loop)) is True


def _meets_refusals() -> bool:
    loop: Any = BaseEventLoop()
    was_open = getattr(loop, CLOSED_MARK) is False
    loop.close()
    try:
        loop.call_soon(print)
    except RuntimeError as error:
        check: Any = inspect.unwrap(getattr(*CLOSED_CHECK))
        return (
            was_open and getattr(loop, CLOSED_MARK) is True and raised_by(error) is check.__code__
        )
    return False


def _forgets_in_child() -> bool:
    if sys.version_info >= (3, 12):
        return hasattr(events, "on_fork") or not hasattr(os, "fork")
    policy: Any = find("events", "BaseDefaultEventLoopPolicy")()
    return hasattr(events, "_event_loop_policy") and hasattr(policy, "_local")


def _shows_descriptors() -> bool:
    from pytest_loopsafe._cpython.trial import NoSocket, trial_loop

    with trial_loop() as loop:
        number = NoSocket().fileno()
        loop.add_reader(number, print)
        return watched_descriptors(loop) == {number}


TOPICS = (
    Topic(
        "which loop runs",
        ("LS101", "LS102", "LS103", "LS104", "LS105", "LS106", "LS108", "LS109"),
        _tells_what_runs,
    ),
    Topic("which thread runs a loop", ("LS105", "LS106"), _tells_threads),
    Topic("what a closed loop refuses", ("LS103", "LS303"), _meets_refusals),
    Topic("how a forked child forgets its parent's loops", ("LS401",), _forgets_in_child),
    Topic("which file descriptors a loop watches", ("LS106", "LS402"), _shows_descriptors),
)
