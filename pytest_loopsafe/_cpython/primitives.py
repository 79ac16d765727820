"""Primitives: which loop one is bound to, who holds it, who waits.

``mixins._LoopBoundMixin._get_loop()`` binds a primitive when it has to make a waiter, and refuses
another loop from then on. All of them are its subclasses (``asyncio/locks.py``, ``queues.py``);
``async with`` goes through ``locks._ContextManagerMixin``.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import locks, queues
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_loopsafe._cpython.topic import Topic, find
from pytest_loopsafe._cpython.trial import trial_loop

LoopBoundMixin: type[Any] = find("mixins", "_LoopBoundMixin")
ContextManagerMixin: type[Any] = find("locks", "_ContextManagerMixin")
INTERNALS = tuple(vars(module) for module in (locks, queues))
"""The globals of the modules that use primitives inside primitives."""

BINDING = (LoopBoundMixin, "_get_loop")
"""What binds a primitive to the running loop, or refuses."""


QUEUE_ITEMS = "_queue"
"""The attribute of a Queue that has what is in it."""


def bind(primitive: Any) -> None:
    """Do what a primitive does when it has to make a waiter.

    Raises:
        RuntimeError: it is bound to another loop than the one that runs.
    """
    getattr(primitive, BINDING[1])()


def bound_loop(primitive: Any) -> asyncio.AbstractEventLoop | None:
    """The loop that a primitive is bound to; None while it has never had a waiter.

    Some rest on others: a Barrier on a Condition, that on a Lock, a Queue's join on an Event.
    """
    for name in ("_loop", "_cond", "_lock", "_finished"):
        part = getattr(primitive, name, None)
        if isinstance(part, LoopBoundMixin):
            part = bound_loop(part)
        if part is not None:
            loop: asyncio.AbstractEventLoop = part
            return loop
    return None


def free_permits(primitive: Any) -> int:
    """How many more may enter a lock (1 or 0) or a semaphore."""
    if isinstance(primitive, asyncio.Lock):
        return 0 if primitive.locked() else 1
    permits: int = getattr(primitive, "_value", 0)
    return permits


def permits_of(gate: Any) -> int | None:
    """How many permits a semaphore has while nobody is in it; None for a lock or a condition."""
    permits = getattr(gate, "_value", None) if isinstance(gate, asyncio.Semaphore) else None
    return permits if type(permits) is int else None


def in_use(primitive: Any) -> bool:
    """Whether a lock, semaphore or condition is held or waited on."""
    if isinstance(primitive, asyncio.Condition):
        return primitive.locked() or bool(getattr(primitive, "_waiters", ()))
    waiters = getattr(primitive, "_waiters", None)
    return bool(waiters) or bool(primitive.locked())


def is_awaited(primitive: Any) -> bool:
    """Whether a primitive is held, or has a waiter that has not been served."""
    if isinstance(primitive, asyncio.Barrier):
        return primitive.n_waiting > 0
    if isinstance(primitive, asyncio.Queue):
        waiters = (*getattr(primitive, "_getters", ()), *getattr(primitive, "_putters", ()))
        return any(not one.done() for one in waiters)
    if isinstance(primitive, asyncio.Event):
        return any(not one.done() for one in getattr(primitive, "_waiters", ()))
    return in_use(primitive)


def would_wait(primitive: Any, method: str) -> bool:
    """Whether a blocking method of a primitive would have to make a waiter now, and so bind."""
    if method == "acquire" or (method == "__aenter__" and hasattr(primitive, "locked")):
        return bool(primitive.locked())
    if isinstance(primitive, asyncio.Barrier):
        return primitive.n_waiting + 1 < primitive.parties
    if isinstance(primitive, asyncio.Event):
        return not primitive.is_set()
    if isinstance(primitive, asyncio.Queue):
        if method == "get":
            return primitive.empty()
        if method == "put":
            return primitive.full()
        return bool(getattr(primitive, "_unfinished_tasks", 0))
    return method == "wait"


@contextmanager
def _contended() -> Iterator[tuple[Any, dict[str, Any]]]:
    """A loop, and primitives by name, for each of which a task waits in it."""

    async def enter_twice(gate: Any) -> None:
        async with gate:
            await gate.acquire()

    async def wait_within(condition: Any) -> None:
        async with condition:
            await condition.wait()

    unfinished, full = asyncio.Queue[None](), asyncio.Queue[None](1)
    for queue in (unfinished, full):
        queue.put_nowait(None)
    kinds: dict[str, tuple[Any, Any]] = {
        "lock": (asyncio.Lock(), enter_twice),
        "semaphore": (asyncio.Semaphore(1), enter_twice),
        "condition": (asyncio.Condition(), wait_within),
        "entered": (asyncio.Condition(), enter_twice),
        "event": (asyncio.Event(), asyncio.Event.wait),
        "barrier": (asyncio.Barrier(2), asyncio.Barrier.wait),
        "empty": (asyncio.Queue(), asyncio.Queue.get),
        "unfinished": (unfinished, asyncio.Queue.join),
        "full": (full, lambda queue: queue.put(None)),
    }
    with trial_loop() as loop:
        tasks = [asyncio.Task(wait(one), loop=loop) for one, wait in kinds.values()]
        loop.turn()
        try:
            yield loop, {name: one for name, (one, _) in kinds.items()}
        finally:
            for task in tasks:
                task.cancel()
            loop.settle()


def _tells_loops() -> bool:
    with _contended() as (loop, primitives):
        return bound_loop(asyncio.Lock()) is None and all(
            isinstance(one, LoopBoundMixin) and bound_loop(one) is loop
            for one in primitives.values()
        )


def _meets_refusals() -> bool:
    with _contended() as (_, primitives):
        try:
            bind(primitives["lock"])
        except RuntimeError:
            return True
    return False


def _sees_entering() -> bool:
    entered: Any = vars(ContextManagerMixin)["__aenter__"]
    gates: tuple[Any, ...] = (asyncio.Lock, asyncio.Semaphore, asyncio.Condition)
    return all(gate.__aenter__ is entered for gate in gates)


def _knows_internals() -> bool:
    methods: tuple[Any, ...] = (asyncio.Lock.acquire, asyncio.Queue.get)
    return all(
        inspect.unwrap(method).__globals__ is names
        for method, names in zip(methods, INTERNALS, strict=True)
    )


def _tells_who_would_wait() -> bool:
    with _contended() as (_, primitives):
        waits = all(
            would_wait(primitives[name], method)
            for name, method in (
                ("lock", "acquire"),
                ("lock", "__aenter__"),
                ("semaphore", "acquire"),
                ("condition", "wait"),
                ("event", "wait"),
                ("empty", "get"),
                ("unfinished", "join"),
                ("full", "put"),
            )
        )
        passes = (
            would_wait(asyncio.Lock(), "acquire"),
            would_wait(asyncio.Semaphore(1), "acquire"),
            would_wait(primitives["unfinished"], "get"),
            would_wait(asyncio.Queue(), "join"),
            would_wait(asyncio.Queue(1), "put"),
            would_wait(primitives["barrier"], "wait"),
        )
        return waits and not any(passes)


def _tells_who_waits() -> bool:
    with _contended() as (_, primitives):
        waited = [one for name, one in primitives.items() if name != "unfinished"]
        gates = [primitives[name] for name in ("lock", "semaphore", "condition", "entered")]
        idle = (asyncio.Lock(), asyncio.Semaphore(1), asyncio.Condition())
        seen = all(map(is_awaited, waited)) and all(map(in_use, gates))
        at_rest: tuple[Any, ...] = (*idle, asyncio.Event(), asyncio.Queue(), asyncio.Barrier(2))
        return seen and not any(map(is_awaited, at_rest)) and not any(map(in_use, idle))


def _counts_permits() -> bool:
    with _contended() as (_, primitives):
        taken = [free_permits(primitives[name]) for name in ("lock", "semaphore")]
        free = [free_permits(asyncio.Lock()), free_permits(asyncio.Semaphore(3))]
        limits = [permits_of(asyncio.Lock()), permits_of(asyncio.Semaphore(3))]
        return taken == [0, 0] and free == [1, 3] and limits == [None, 3]


def _sees_items() -> bool:
    queue: asyncio.Queue[int] = asyncio.Queue()
    queue.put_nowait(1)
    return list(getattr(queue, QUEUE_ITEMS, ())) == [1]


TOPICS = (
    Topic("what is in a queue", ("LS207", "LS306"), _sees_items),
    Topic("which loop a primitive is bound to", ("LS102", "LS107", "LS201"), _tells_loops),
    Topic("a foreign primitive's refusal", ("LS102",), _meets_refusals),
    Topic("who enters a primitive", ("LS102", "LS105", "LS107"), _sees_entering),
    Topic("what a primitive itself uses", ("LS106", "LS107"), _knows_internals),
    Topic("who would have to wait for a primitive", ("LS102", "LS107"), _tells_who_would_wait),
    Topic("who holds a primitive, or waits for it", ("LS201", "LS208"), _tells_who_waits),
    Topic("how many permits are free", ("LS106", "LS208"), _counts_permits),
)
