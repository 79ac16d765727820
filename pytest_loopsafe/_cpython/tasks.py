"""Tasks: who makes and awaits them through asyncio's functions, and which ones a loop has had.

``gather``, ``shield`` and ``run_until_complete`` go through one function that refuses a future of
another loop with a ValueError; ``asyncio.wait`` goes through ``_wait()``, which refuses nothing
(``asyncio/tasks.py``).
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import weakref
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


_python_task_in: Any = vars(tasks).get("_py_current_task")
"""From 3.14 on pure-Python tasks have a table of their own; ``asyncio.current_task()``, which is
C code's, does not know of it and gives None in such a task."""


def _task_of_either_kind(loop: Any) -> Any:
    task = asyncio.current_task(loop)
    return _python_task_in(loop) if task is None else task


_HAS_TWO_TABLES = sys.version_info >= (3, 14) and _python_task_in is not None

task_in: Callable[[Any], Any] = _task_of_either_kind if _HAS_TWO_TABLES else asyncio.current_task
"""The task that a loop runs now, or None."""


_python_tasks_of: Any = vars(tasks).get("_py_all_tasks")


def all_tasks(loop: Any) -> set[Any]:
    """The tasks of a loop that are not done, of either kind: ``asyncio.all_tasks()`` as it was.

    Raises:
        RuntimeError: the set of tasks kept changing while it was being read.
    """
    found: set[Any] = asyncio.all_tasks(loop)
    return found | _python_tasks_of(loop) if _HAS_TWO_TABLES else found


def current_task() -> Any:
    """The task that runs in this thread, or None."""
    loop = get_running_loop()
    return task_in(loop) if loop is not None else None


_PYTHON_TASK: Any = vars(tasks).get("_PyTask", asyncio.Task)
"""What a task factory may give, and nest_asyncio; no subclass of the Task in C, nor a base."""


def coroutine_of(awaitable: Any) -> Any:
    """What a task runs; anything else as it is."""
    return awaitable.get_coro() if isinstance(awaitable, asyncio.Task | _PYTHON_TASK) else awaitable


def coroutine_code(awaitable: Any) -> CodeType | None:
    """The code of a coroutine, or of the one that a task runs; None for anything else."""
    code = getattr(coroutine_of(awaitable), "cr_code", None)
    return code if isinstance(code, CodeType) else None


def is_loops_own(task: Any) -> bool:
    """Whether a task is one by which Windows' loop waits for a server's next connection.

    It is pending for as long as the server listens (``IocpProactor.accept``), and nobody's to end.
    """
    code = coroutine_code(task)
    if code is None or code.co_name != "accept_coro":
        return False
    return os.path.basename(code.co_filename) == "windows_events.py"


FORGETS_DONE = sys.version_info >= (3, 14)
"""Whether asyncio no longer lists a task that is done, however long somebody still has it.

Up to 3.13 ``all_tasks()`` reads a weak set and leaves out what is done. Since then C code keeps a
list of its own, and a task is taken out of it when it ends.
"""

_noted: dict[int, weakref.ref[Any]] = {}


def note_task(task: Any) -> None:
    """Remember a task for `cancelled_tasks`, where asyncio forgets it; it is not kept alive."""

    def forget(ref: weakref.ref[Any], number: int = id(task)) -> None:
        if _noted.get(number) is ref:
            del _noted[number]

    try:
        _noted[id(task)] = weakref.ref(task, forget)
    except TypeError:  # a task factory's own kind
        return


def cancelled_tasks(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """The cancelled tasks of a loop that somebody still has; none where they are not listed.

    Where asyncio lists none that is done, those of `note_task`.
    """
    known = vars(tasks).get("_scheduled_tasks", vars(tasks).get("_all_tasks", ()))
    try:
        if FORGETS_DONE:
            there = [task for ref in list(_noted.values()) if (task := ref()) is not None]
        else:
            there = list(known)
        return [one for one in there if one.cancelled() and future_loop(one) is loop]
    except RuntimeError:  # another thread's tasks came and went meanwhile
        return []


def marked_async(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep ``iscoroutinefunction`` true for a plain function that returns a coroutine."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    # asyncio's own marker; inspect's has no such thing on 3.11 (docs: known limitations)
    function._is_coroutine = coroutines._is_coroutine  # type: ignore[attr-defined]
    return function


def _tells_task() -> bool:
    found: list[Any] = []

    async def look() -> None:
        found.append(current_task())

    with trial_loop() as loop:
        made = [one(look(), loop=loop, name=TRIAL) for one in {asyncio.Task, _PYTHON_TASK}]
        listed = all_tasks(loop) == set(made)
        loop.turn()
        return found == made and listed


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
        if FORGETS_DONE:
            note_task(task)
        loop.turn()
        task.cancel()
        loop.settle()
        seen = cancelled_tasks(loop) == [task]
        del task  # by its error's traceback it would keep this frame
        return seen


def _marks_async() -> bool:
    marked = marked_async(lambda: None)
    if sys.version_info >= (3, 12):
        return inspect.iscoroutinefunction(marked)
    return bool(asyncio.iscoroutinefunction(marked))


TOPICS = (
    Topic("which tasks there are", ("LS107", "LS208", "LS301", "LS307"), _tells_task),
    Topic("what ensure_future() and gather() refuse", ("LS101",), _sees_refusal),
    Topic("what asyncio.wait() is given", ("LS108",), _sees_wait),
    Topic("what is handed to a loop", ("LS105",), _sees_hand_overs),
    Topic("which functions return coroutines", (), _marks_async),
    Topic("which tasks were cancelled", ("LS207",), _lists_cancelled),
)
