"""Futures: which loop one belongs to, who waits for it, and what it holds.

``asyncio.isfuture()`` goes by a mark on the class (``asyncio/base_futures.py``). A future keeps the
callbacks of those who wait for it, with each its context; a task that is suspended keeps the future
that it waits for (``asyncio/futures.py``, ``tasks.py``; in C ``FutureObj_get_callbacks`` and the
members of ``TaskType``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, cast

from pytest_loopsafe._cpython.topic import TRIAL, Topic, find
from pytest_loopsafe._cpython.trial import trial_loop

_get_loop: Callable[[Any], asyncio.AbstractEventLoop] = find(
    "futures", "_get_loop", lambda future: future.get_loop()
)

FUTURE_MARK = "_asyncio_future_blocking"
"""What ``asyncio.isfuture()`` looks for in a class."""


def future_loop(future: Any) -> asyncio.AbstractEventLoop | None:
    """The loop a future belongs to, without raising."""
    try:
        loop: asyncio.AbstractEventLoop | None = _get_loop(future)
    except Exception:  # noqa: BLE001 - a duck-typed future may do anything
        return None
    return loop


def awaiter_of(task: Any) -> Any:
    """The task that waits for this one, directly or through ``gather`` and ``shield``; or None.

    A waiter registers a callback. A task's own is bound to the task; those of ``gather``,
    ``shield`` (closures) and ``wait_for`` (a ``partial``, 3.11) have a future that leads on.
    """
    pending: list[Any] = [task]
    seen: set[int] = set()
    while pending and len(seen) < 20:
        future = pending.pop(0)
        seen.add(id(future))
        for callback in callbacks_of(future):
            waiter = getattr(callback, "__self__", None)
            if isinstance(waiter, asyncio.Task) and waiter is not task:
                return waiter
            cells = getattr(callback, "__closure__", None) or ()
            for content in (*map(_content, cells), *getattr(callback, "args", ())):
                if asyncio.isfuture(content) and id(content) not in seen:
                    pending.append(content)
    return None


def callbacks_of(future: Any) -> list[Any]:
    """What is called once a future is done."""
    return [callback for callback, _ in getattr(future, "_callbacks", None) or ()]


def awaited_by(task: Any) -> Any:
    """The future that a suspended task waits for; None where it is about to go on."""
    return getattr(task, "_fut_waiter", None)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


def shielded_by(future: Any) -> Any:
    """The future that ``shield()`` has made this one for; None for any other.

    Nobody but who awaits it holds what ``shield`` returns; the one within is somebody's.
    """
    for callback in callbacks_of(future):
        if type(callback) is FunctionType and any(one is callback.__code__ for one in _OF_SHIELD):
            names, cells = callback.__code__.co_freevars, callback.__closure__ or ()
            named = zip(names, cells, strict=True)
            return next((_content(one) for name, one in named if name == "inner"), None)
    return None


_OF_SHIELD: tuple[object, ...] = cast(Any, asyncio.shield).__code__.co_consts
"""Among them the codes of its callbacks."""


def future_parts(future: Any) -> Iterator[tuple[Any, str]]:
    """What a future holds, each with the attribute that leads to it."""
    yield future.get_loop(), "._loop"
    if issubclass(type(future), asyncio.Task):
        yield future.get_coro(), ".get_coro()"
    for name in ("_callbacks", "_fut_waiter", "_result"):
        yield getattr(future, name, None), f".{name}"


def is_gathering(future: Any) -> bool:
    """Whether a future is what ``gather()`` returns."""
    return type(future).__name__ == "_GatheringFuture"


def _tells_loops() -> bool:
    with trial_loop() as loop:
        future = loop.create_future()
        marked = vars(asyncio.Future).get(FUTURE_MARK) is not None
        return future_loop(future) is loop and future_loop(object()) is None and marked


def _tells_waiters() -> bool:
    with trial_loop() as loop:
        end = loop.create_future()

        async def inner() -> None:
            await end

        async def directly() -> None:
            await first

        async def through() -> None:
            await asyncio.gather(asyncio.shield(second))

        first, second = (asyncio.Task(inner(), loop=loop, name=TRIAL) for _ in range(2))
        outer = [asyncio.Task(one, loop=loop, name=TRIAL) for one in (directly(), through())]
        loop.turn()
        seen = awaiter_of(first) is outer[0] and awaiter_of(second) is outer[1]
        end.set_result(None)
        loop.settle()
        return seen and all(one.done() for one in outer)


def _tells_what_is_awaited() -> bool:
    with trial_loop() as loop:
        future = loop.create_future()

        async def wait() -> None:
            await future

        task = asyncio.Task(wait(), loop=loop, name=TRIAL)
        seen = awaited_by(task) is None
        loop.turn()
        seen &= awaited_by(task) is future
        future.set_result(None)
        loop.settle()
        return seen and task.done()


def _shows_shielded() -> bool:
    with trial_loop() as loop:
        inner = loop.create_future()
        outer = asyncio.shield(inner)
        seen = shielded_by(outer) is inner and shielded_by(inner) is None
        inner.set_result(None)
        loop.settle()
        return seen and outer.done()


def _shows_parts() -> bool:
    with trial_loop() as loop:
        future, value = loop.create_future(), object()

        async def wait() -> None:
            await future

        task = asyncio.Task(wait(), loop=loop, name=TRIAL)
        loop.turn()
        of_task = {name: part for part, name in future_parts(task)}
        of_future = {name: part for part, name in future_parts(future)}
        seen = of_task["._fut_waiter"] is future and bool(of_future["._callbacks"])
        future.set_result(value)
        loop.turn()
        of_future = {name: part for part, name in future_parts(future)}
        return seen and of_future["._result"] is value and of_task["._loop"] is future._loop


def _knows_gather() -> bool:
    with trial_loop() as loop:
        part = loop.create_future()
        gathering = asyncio.gather(part)
        part.set_result(None)
        loop.settle()
        return is_gathering(gathering) and not is_gathering(part)


TOPICS = (
    Topic("which loop a future belongs to", ("LS101", "LS106", "LS108", "LS201"), _tells_loops),
    Topic("who waits for a task", ("LS203", "LS307"), _tells_waiters),
    Topic("what a task waits for", ("LS307",), _tells_what_is_awaited),
    Topic("what shield() was given", (), _shows_shielded),
    Topic("what a future holds", (), _shows_parts),
    Topic("what gather() returns", (), _knows_gather),
)
