"""Primitives: which loop one is bound to, who holds it, who waits, and who calls whom among them.

``mixins._LoopBoundMixin._get_loop()`` binds a primitive when it has to make a waiter, and refuses
another loop from then on. All of them are its subclasses (``asyncio/locks.py``, ``queues.py``);
``async with`` goes through ``locks._ContextManagerMixin``.

State is read from an instance's own dictionary, through the descriptor that the base class made
for it. A subclass may have a property, a ``__getattr__`` or a ``locked()`` of its own; none is
called. And it is the base class's state that decides: one that delegates to another lock never uses
its own.
"""

from __future__ import annotations

import asyncio
import inspect
import operator
import sys
from asyncio import locks, queues
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import CodeType, FrameType
from typing import Any

from pytest_loopsafe._cpython.topic import TRIAL, Topic, find
from pytest_loopsafe._cpython.trial import trial_loop

LoopBoundMixin: type[Any] = find("mixins", "_LoopBoundMixin")
_ContextManagerMixin: type[Any] = find("locks", "_ContextManagerMixin")
_FILLING: Any = getattr(find("locks", "_BarrierState"), "FILLING", None)
_FUTURES = ("_asyncio", "asyncio.futures")
_LOCKS, _QUEUES = vars(locks), vars(queues)
INTERNALS = (_LOCKS, _QUEUES)
"""The globals of the modules that use primitives inside primitives."""

BINDING = (LoopBoundMixin, "_get_loop")
"""What binds a primitive to the running loop, or refuses."""

QUEUE_ITEMS = "_queue"
"""The attribute of a Queue that has what is in it."""


def _code(owner: Any, name: str) -> CodeType | None:
    return getattr(inspect.unwrap(getattr(owner, name, lambda: None)), "__code__", None)


ENTER = _code(_ContextManagerMixin, "__aenter__")
"""The code of ``async with lock``, which calls ``acquire``."""

_PASSING = (ENTER, _code(asyncio.Barrier, "__aenter__"), _code(asyncio.Condition, "wait_for"))
"""What only hands on a call of the user's: ``async with lock`` is ``lock.acquire()``."""


def _no_fields(primitive: Any) -> dict[str, Any]:
    return {}


_DICTIONARY: Any = vars(LoopBoundMixin).get("__dict__")
fields: Callable[[Any], dict[str, Any]] = (
    _DICTIONARY.__get__ if inspect.isgetsetdescriptor(_DICTIONARY) else _no_fields
)
"""A primitive's own attributes, past all that its class may have made of them."""

lock_state: Callable[[Any], tuple[bool, Any]] = operator.attrgetter("_locked", "_waiters")
"""Whether a Lock that is of no subclass is held, and who waits for it, at the price of C."""

UNCONTENDED = (False, None)
"""The state of a lock that is free and was never waited for."""


def bind(primitive: Any) -> None:
    """Do what a primitive does when it has to make a waiter.

    Raises:
        RuntimeError: it is bound to another loop than the one that runs.
    """
    getattr(primitive, BINDING[1])()


def is_internal(frame: FrameType) -> bool:
    """Whether a frame is of the modules of the primitives themselves."""
    where = frame.f_globals  # compared one by one: this is on the path of every acquire
    return where is _LOCKS or where is _QUEUES


def calling_user(frame: FrameType | None) -> FrameType | None:
    """The frame that uses a primitive; None where that is another primitive's."""
    while frame is not None:
        where = frame.f_globals
        if where is not _LOCKS and where is not _QUEUES:
            return frame
        if frame.f_code not in _PASSING:
            return None
        frame = frame.f_back
    return None


def may_bind(primitive: Any) -> bool:
    """Whether a primitive binds as asyncio's do: a subclass may say itself which loop it is of."""
    return has_method_of(LoopBoundMixin, BINDING[1], primitive)


def has_method_of(kind: type, method: str, primitive: Any) -> bool:
    """Whether a method of a primitive is that of this class, and not a subclass's."""
    definers = (base for base in type.mro(type(primitive)) if method in vars(base))
    return next(definers, None) is kind


def bound_loop(primitive: Any) -> asyncio.AbstractEventLoop | None:
    """The loop that a primitive is bound to; None while it has never had a waiter.

    Some rest on others: a Barrier on a Condition, that on a Lock, a Queue's join on an Event.
    """
    own = fields(primitive)
    for name in ("_loop", "_cond", "_lock", "_finished"):
        part = own.get(name)
        if _is_primitive(part):
            part = bound_loop(part)
        if part is not None:
            loop: asyncio.AbstractEventLoop = part
            return loop
    return None


def lock_of(condition: Any) -> Any:
    """The lock under a condition; None where it is not one of asyncio's, used as it is."""
    lock = fields(condition).get("_lock")
    kind = type(lock)
    own = issubclass(kind, asyncio.Lock) and kind.acquire is asyncio.Lock.acquire
    return lock if own else None


def free_permits(primitive: Any) -> int:
    """How many more may enter a lock (1 or 0) or a semaphore."""
    own = fields(primitive)
    if _is(primitive, asyncio.Lock):
        return 0 if own.get("_locked") else 1
    permits: int = own.get("_value", 0)
    return permits


def permits_of(gate: Any) -> int | None:
    """How many permits a semaphore has while nobody is in it; None for a lock or a condition."""
    permits = fields(gate).get("_value") if _is(gate, asyncio.Semaphore) else None
    return permits if type(permits) is int else None


def in_use(primitive: Any) -> bool:
    """Whether a lock, semaphore or condition is held or waited on."""
    own = fields(primitive)
    if own.get("_waiters"):
        return True
    if _is(primitive, asyncio.Condition):
        lock = own.get("_lock")
        return _is_primitive(lock) and in_use(lock)
    return free_permits(primitive) == 0


def is_awaited(primitive: Any) -> bool:
    """Whether a primitive is held, or has a waiter that has not been served."""
    own = fields(primitive)
    if _is(primitive, asyncio.Barrier):
        return _waits_at(own) > 0
    if _is(primitive, asyncio.Queue):
        return any(_undone((*own.get("_getters", ()), *own.get("_putters", ()))))
    if _is(primitive, asyncio.Event):
        return any(_undone(own.get("_waiters", ())))
    return in_use(primitive)


def would_wait(primitive: Any, method: str) -> bool:
    """Whether a blocking method of a primitive would have to make a waiter now, and so bind."""
    own = fields(primitive)
    if method == "acquire":
        waiters = own.get("_waiters") or ()
        return free_permits(primitive) == 0 or not all(_was_cancelled(one) for one in waiters)
    if _is(primitive, asyncio.Barrier):
        filling = own.get("_state") is _FILLING
        return not filling or _waits_at(own) + 1 < own.get("_parties", 0)
    if _is(primitive, asyncio.Event):
        return not own.get("_value")
    if _is(primitive, asyncio.Queue):
        if method == "join":
            return bool(own.get("_unfinished_tasks", 0))
        items = queued(primitive)
        limit = own.get("_maxsize", 0)
        return items == 0 if method == "get" else items is not None and 0 < limit <= items
    return method == "wait"


def may_wait(primitive: Any, method: str) -> bool:
    """Whether a use that need not wait now might have had to, whatever else has happened.

    Not to join a queue of which all is done: by whom else it is read, that counts.
    """
    limited: int = fields(primitive).get("_maxsize", 0)
    return _is(primitive, asyncio.Queue) and (method == "get" or (method == "put" and limited > 0))


def is_set(event: Any) -> bool:
    """Whether an event is set."""
    return bool(fields(event).get("_value"))


def queued(queue: Any) -> int | None:
    """How many items a queue has; None where it keeps them in something of the user's own."""
    items: Any = fields(queue).get("_queue")
    return len(items) if type(items) in (deque, list) else None


def room_in(queue: Any, items: int) -> int:
    """How many items more may be put into a queue that has so many."""
    return int(fields(queue).get("_maxsize", 0)) - items


def _waits_at(barrier: dict[str, Any]) -> int:
    count: int = barrier.get("_count", 0)
    return count if barrier.get("_state") is _FILLING else 0


def _undone(waiters: Any) -> list[bool]:
    return [type(one).__module__ not in _FUTURES or not one.done() for one in tuple(waiters)]


def _was_cancelled(waiter: Any) -> bool:
    return type(waiter).__module__ in _FUTURES and waiter.cancelled()


def _is(primitive: Any, kind: type) -> bool:
    return issubclass(type(primitive), kind)


def _is_primitive(thing: Any) -> bool:
    return issubclass(type(thing), LoopBoundMixin)


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
        tasks = [asyncio.Task(wait(one), loop=loop, name=TRIAL) for one, wait in kinds.values()]
        loop.turn()
        try:
            yield loop, {name: one for name, (one, _) in kinds.items()}
        finally:
            while tasks:  # in no variable: what they are cancelled with leads back to this frame
                tasks.pop().cancel()
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
    found: list[int] = []  # numbers of frames, for one of these has it in a variable

    class Told(asyncio.Lock):
        async def acquire(self) -> Any:
            entering = sys._getframe(1)
            if entering.f_code is ENTER:
                found.append(id(calling_user(entering)))

    async def enter() -> None:
        found.append(id(sys._getframe()))
        async with Told():
            pass

    with suppress(RuntimeError):  # it was never really taken
        enter().send(None)
    return len(found) == 2 and found[0] == found[1]


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
                ("semaphore", "acquire"),
                ("condition", "wait"),
                ("event", "wait"),
                ("empty", "get"),
                ("unfinished", "join"),
                ("full", "put"),
            )
        )
        waits &= would_wait(asyncio.Barrier(2), "wait") and lock_state(primitives["lock"])[0]
        waits &= lock_state(asyncio.Lock()) == UNCONTENDED
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
