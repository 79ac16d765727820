"""A task's steps: a cross-loop await, before its error reaches the coroutine.

A task that yields a future of another loop
    ``task_step_handle_result_impl`` in ``Modules/_asynciomodule.c`` makes the RuntimeError and
    schedules ``loop.call_soon(TaskStepMethWrapper(task, exc))``. The wrapper is the only C object
    of that moment which we can see: ``__self__`` is the task, and its referents hold the
    exception. A normal step's wrapper refers to the task alone (3.12 and later: and to its own
    type, a heap type). The pure-Python Task passes the exception as the callback's argument.

The future itself
    is reached through the suspended coroutine: the last link of its await chain is the future's C
    iterator, and the iterator refers to the future.

Where a callback begins
    ``Handle._run()`` calls it (``asyncio/events.py``): what is further out is the loop's own.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from asyncio import base_events
from contextlib import suppress
from types import BuiltinMethodType, MethodType
from typing import Any

from pytest_loopsafe._cpython.futures import callbacks_of
from pytest_loopsafe._cpython.loops import run_ready, running
from pytest_loopsafe._cpython.topic import TRIAL, Topic
from pytest_loopsafe._cpython.trial import trial_loop

CALLBACK_BEGINS = "Handle._run"
"""The qualified name of the function that calls what was scheduled."""


def step_type() -> tuple[type, int]:
    """The type of a C task's step callback, and how many objects a normal one refers to.

    The last of these is the task: before it comes, from 3.12 on, the type.

    Asked of the C task itself, for nest_asyncio puts the pure-Python one under all of asyncio's
    names for it. Where there is no C task, no callback has this type.
    """
    try:
        from _asyncio import Task
    except ImportError:
        return type(None), 0
    loop: Any = base_events.BaseEventLoop()
    try:

        async def nothing() -> None:
            return None

        task = Task(nothing(), loop=loop, name=TRIAL)
        handle = loop._ready.popleft()
        found = type(handle._callback), len(gc.get_referents(handle._callback))
        with running(loop):
            handle._run()
        task.result()
        return found
    except Exception:  # noqa: BLE001 - then no cross-loop await is seen, as the canary will say
        return type(None), 0
    finally:
        loop.close()


def step_error(callback: Any) -> BaseException | None:
    """The exception that a task step is about to throw into its coroutine."""
    for referent in gc.get_referents(callback):
        if isinstance(referent, BaseException):
            return referent
    return None


def goes_on_by(callback: Any) -> Any:
    """The task that a callback of asyncio's own makes go on; None for what is no such callback."""
    kind = type(callback)
    if kind in (BuiltinMethodType, MethodType) or kind.__name__ == _STEP:
        return callback.__self__
    return None


_STEP = "TaskStepMethWrapper"


def awaited_future(last_link: object) -> Any:
    """The future behind the last link of an await chain, or None."""
    if asyncio.isfuture(last_link):
        return last_link
    for referent in gc.get_referents(last_link):
        if not isinstance(referent, type) and asyncio.isfuture(referent):
            return referent
    return None


def _sees_foreign_await() -> bool:
    with trial_loop() as home, trial_loop() as other:
        future = home.create_future()

        async def stray() -> None:
            with suppress(RuntimeError):
                await future

        coroutine: Any = stray()
        kind: Any
        kind, normal = step_type()
        task = (asyncio.Task if kind is type(None) else _c_task())(coroutine, loop=other)
        run_ready(other)
        step = other._ready[0]._callback
        seen = awaited_future(coroutine.cr_await) is future
        if kind is not type(None):
            seen &= type(step) is kind and step.__self__ is task
            seen &= gc.get_referents(step)[normal - 1] is task
            seen &= len(gc.get_referents(step)) > normal
            seen &= isinstance(step_error(step), RuntimeError)
        run_ready(other)
        task.result()
        del step  # by its error and that one's traceback it would keep this frame
        return seen


def _c_task() -> Any:
    from _asyncio import Task

    return Task


def _knows_what_goes_on() -> bool:
    with trial_loop() as loop:
        future = loop.create_future()

        async def wait() -> None:
            await future

        task = asyncio.Task(wait(), loop=loop, name=TRIAL)
        seen = goes_on_by(loop._ready[0]._callback) is task
        run_ready(loop)
        seen &= [goes_on_by(one) for one in callbacks_of(future)] == [task]
        future.set_result(None)
        loop.settle()
        return seen and goes_on_by(future) is None


def _sees_where_callbacks_begin() -> bool:
    found: list[str] = []
    with trial_loop() as loop:

        def note() -> None:
            found.append(sys._getframe(1).f_code.co_qualname)

        loop.call_soon(note)
        run_ready(loop)
        return found == [CALLBACK_BEGINS]


TOPICS = (
    Topic("a cross-loop await", ("LS101", "LS106"), _sees_foreign_await),
    Topic("what makes a task go on", ("LS307",), _knows_what_goes_on),
    Topic("where a loop's callback begins", ("LS203",), _sees_where_callbacks_begin),
)
