"""Tasks: who makes and awaits them through asyncio's functions, and which ones a loop has had.

``gather``, ``shield`` and ``run_until_complete`` go through one function that refuses a future of
another loop with a ValueError; ``asyncio.wait`` goes through ``_wait()``, which refuses nothing
(``asyncio/tasks.py``).
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from asyncio import coroutines, tasks
from collections.abc import Callable
from types import CodeType
from typing import Any

from pytest_loopsafe._cpython.futures import future_loop
from pytest_loopsafe._cpython.loops import get_running_loop, raised_by, running
from pytest_loopsafe._cpython.topic import TRIAL, Topic
from pytest_loopsafe._cpython.trial import trial_loop

ENSURE_FUTURE: tuple[tuple[Any, str], ...] = (
    ((tasks, "_ensure_future"),)
    if hasattr(tasks, "_ensure_future")  # 3.11; later versions have one function under two names
    else ((tasks, "ensure_future"), (asyncio, "ensure_future"))
)
"""Where the function lives that refuses a future of another loop with a ValueError."""

WAIT = (tasks, "_wait")
"""What ``asyncio.wait`` calls through its module, and so also for ``from asyncio import wait``."""

HAND_OVERS: tuple[Any, ...] = (asyncio, tasks)
"""Where ``run_coroutine_threadsafe`` is looked up."""


def current_task() -> Any:
    """The task that runs in this thread, or None."""
    loop = get_running_loop()
    return asyncio.current_task(loop) if loop is not None else None


_PYTHON_TASK: Any = vars(tasks).get("_PyTask", asyncio.Task)
"""What a task factory may give, and nest_asyncio; no subclass of the Task in C, nor a base."""


def coroutine_of(awaitable: Any) -> Any:
    """What a task runs; anything else as it is."""
    return awaitable.get_coro() if isinstance(awaitable, asyncio.Task | _PYTHON_TASK) else awaitable


def coroutine_code(awaitable: Any) -> CodeType | None:
    """The code of a coroutine, or of the one that a task runs; None for anything else."""
    code = getattr(coroutine_of(awaitable), "cr_code", None)
    return code if isinstance(code, CodeType) else None


def cancelled_tasks(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """The cancelled tasks of a loop that somebody still has; none where they are not listed.

    ``all_tasks()`` reads the same weak set and leaves out what is done. From 3.14 on C code keeps
    a list of its own, without what is done.
    """
    known = vars(tasks).get("_scheduled_tasks", vars(tasks).get("_all_tasks", ()))
    try:
        return [one for one in list(known) if one.cancelled() and future_loop(one) is loop]
    except RuntimeError:  # another thread's tasks came and went meanwhile
        return []


def marked_async(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep ``iscoroutinefunction`` true for a plain function that returns a coroutine."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    # asyncio's own marker; inspect's has no such thing on 3.11 (docs: known limitations)
    function._is_coroutine = coroutines._is_coroutine  # type: ignore[attr-defined]
    return function


def _sees_refusal() -> bool:
    with trial_loop() as home, trial_loop() as other:
        try:
            asyncio.gather(home.create_future(), other.create_future())
        except ValueError as error:
            codes = [inspect.unwrap(getattr(owner, name)).__code__ for owner, name in ENSURE_FUTURE]
            return raised_by(error) in codes
        return False


def _sees_wait() -> bool:
    with trial_loop() as loop:
        with running(loop):
            waiting: Any = asyncio.wait([loop.create_future()])
            waiting.send(None)
            code = waiting.cr_await.cr_code
            waiting.close()
        function: Any = inspect.unwrap(getattr(*WAIT))
        given = code.co_varnames[: code.co_argcount]
        return code is function.__code__ and given == ("fs", "timeout", "return_when", "loop")


def _sees_hand_overs() -> bool:
    return all(hasattr(owner, "run_coroutine_threadsafe") for owner in HAND_OVERS)


def _lists_cancelled() -> bool:
    with trial_loop() as loop:

        async def wait() -> None:
            await loop.create_future()

        task = asyncio.Task(wait(), loop=loop, name=TRIAL)
        loop.turn()
        task.cancel()
        loop.settle()
        return cancelled_tasks(loop) == [task]


def _marks_async() -> bool:
    marked = marked_async(lambda: None)
    if sys.version_info >= (3, 12):
        return inspect.iscoroutinefunction(marked)
    return bool(asyncio.iscoroutinefunction(marked))


TOPICS = (
    Topic("what ensure_future() and gather() refuse", ("LS101",), _sees_refusal),
    Topic("what asyncio.wait() is given", ("LS108",), _sees_wait),
    Topic("what is handed to a loop", ("LS105",), _sees_hand_overs),
    Topic("which functions return coroutines", (), _marks_async),
    Topic("which tasks were cancelled", ("LS207",), _lists_cancelled),
)
