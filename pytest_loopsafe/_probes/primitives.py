"""Seeing asyncio's primitives: when one refuses a loop, and where a task could have had to wait.

A primitive binds to a loop only when a task has to wait for it. So what counts is not the use of a
primitive but evidence that a use in this loop could have met one that is taken, empty or unset:

- a lock, semaphore or condition that a task held while another ran: the holder was scheduled anew
  before it gave it back, or somebody else took it, or gave it back;
- a queue that was read, or filled up to a limit; a barrier or condition that was waited for;
- an event that was waited for in a loop where it was set or cleared too;
- and no use that asks first (``locked()``, ``empty()``) and listens can have to wait.

The hooks note and do nothing else: they call nothing of the primitive's, look for no source, and
what they keep goes with the primitive.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._cpython import primitives as private
from pytest_loopsafe._cpython.queues import is_taken_from_as_ever
from pytest_loopsafe._probes.events import Events, change
from pytest_loopsafe._probes.holding import Gates, hook
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._probes.scheduling import CalledFromThread
from pytest_loopsafe._probes.steps import Steps
from pytest_loopsafe._probes.stock import Filled, Puts, Stock
from pytest_loopsafe._probes.uses import Build, Original, Uses


@dataclass(frozen=True)
class PrimitiveRefused(Sighting):
    """A primitive bound to `home` refused `loop`; asyncio is about to raise `error`."""

    primitive: Any
    loop: asyncio.AbstractEventLoop | None
    home: asyncio.AbstractEventLoop
    error: BaseException


@dataclass(frozen=True)
class QueueFilled(Sighting):
    """Something was put into a queue in a loop: told once for each of both.

    `stock` goes on to note what is put in there, and `puts` counts all that is, in any loop.
    """

    queue: Any
    loop: asyncio.AbstractEventLoop
    stock: Stock
    puts: Puts


class BindingProbe:
    """Sees a bound primitive refuse another loop."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the mixin method that all primitives ask for their loop."""

        def build(original: Original) -> Original:
            def _get_loop(self: Any) -> Any:
                __tracebackhide__ = True
                home = private.bound_loop(self)
                if home is None or home is _cpython.get_running_loop():
                    return original(self)
                try:
                    return original(self)
                except RuntimeError as error:
                    emit(
                        PrimitiveRefused(_outermost(self), _cpython.get_running_loop(), home, error)
                    )
                    raise

            return _get_loop

        patches.replace(_cpython.LoopBoundMixin, _cpython.BINDING[1], build)


def _outermost(primitive: Any) -> Any:
    """The primitive that the user called: a Barrier rests on a Condition, a Queue on an Event."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and private.is_internal(frame):
        primitive = frame.f_locals.get("self", primitive)
        frame = frame.f_back
    return primitive


class UseProbe:
    """Sees the use of a primitive by anybody but asyncio's own primitives.

    The hooks are plain functions that return the original's coroutine untouched: an ``async``
    wrapper would put a coroutine of ours into every stack and ``await`` chain.
    """

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the methods that may have to wait, and those that say whether they would."""
        steps = Steps(patches.steps)
        gates = Gates(emit, steps)
        barriers, waits, gets, puts, joins = (Uses(emit, steps) for _ in range(5))
        events = Events(emit, steps)
        filled = Filled(emit, steps)
        for table in (steps, gates, events, barriers, waits, gets, puts, joins, filled):
            patches.when_armed(table.clear)
        hook(patches, gates)
        for kind in (asyncio.Lock, asyncio.Semaphore):
            patches.replace(kind, "locked", _ask(gates, _free))
        patches.replace(asyncio.Condition, "wait", _use(waits, "wait"))
        patches.replace(asyncio.Barrier, "wait", _use(barriers, "wait"))
        patches.replace(asyncio.Event, "wait", _use(events, "wait"))
        patches.replace(asyncio.Event, "set", change(events, _from_thread))
        patches.replace(asyncio.Event, "clear", change(events, _from_thread))
        patches.replace(asyncio.Event, "is_set", _ask(events, _is_set))
        patches.replace(asyncio.Queue, "get", _use(gets, "get"))
        patches.replace(asyncio.Queue, "put", _use(puts, "put"))
        patches.replace(asyncio.Queue, "join", _use(joins, "join"))
        patches.replace(asyncio.Queue, "put_nowait", _fill(filled))
        patches.replace(asyncio.Queue, "empty", _ask(gets, _has_items))
        patches.replace(asyncio.Queue, "full", _ask(puts, _has_room))
        patches.replace(asyncio.Queue, "qsize", _ask(gets, _has_size))
        patches.replace(asyncio.Queue, "get_nowait", _take(steps))


def _use(uses: Uses, name: str) -> Build:
    def build(original: Original) -> Original:
        running, known = _cpython.get_running_loop, uses.records.get

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            record, loop = known(id(self)), running()
            if loop is not None and (
                record is None or not record.settled or record.loop() is not loop
            ):
                user = private.calling_user(sys._getframe(1))
                if user is not None:
                    waits = private.would_wait(self, name)
                    counts = waits or private.may_wait(self, name) or _changes(record, loop)
                    uses.use(self, name, loop, user, waits=waits, counts=counts)
                    if type(uses) is Events and not waits:
                        uses.is_found_set(self, loop, asked=False)
            return original(self, *args, **kwargs)

        return method

    return build


def _changes(record: Any, loop: Any) -> bool:
    """Whether it is an event that was set or cleared in this loop."""
    return record is not None and record.changed and record.loop() is loop


def _fill(filled: Filled) -> Build:
    def build(original: Original) -> Original:
        running, known = _cpython.get_running_loop, filled.records.get

        def put_nowait(self: Any, item: Any) -> Any:
            loop, record = running(), known(id(self))
            if loop is None:
                _from_thread(filled.emit, self, "put_nowait")
            elif record is None or record.loop() is not loop:
                record = filled.within(self, loop)
                filled.emit(QueueFilled(self, loop, record.stock, record.puts))
                record.stock.note(item)
            elif record.stock.known:
                record.stock.note(item)
            done = original(self, item)
            if record is not None:
                record.puts.made += 1
            return done

        return put_nowait

    return build


def _take(steps: Steps) -> Build:
    def build(original: Original) -> Original:
        running, counted = _cpython.get_running_loop, steps.counts

        def get_nowait(self: Any) -> Any:
            __tracebackhide__ = True
            item = original(self)
            if counted and id(self) in counted:
                loop = running()
                task = _cpython.task_in(loop) if loop is not None else None
                steps.takes_item(task, self, promised=private.is_internal(sys._getframe(1)))
            return item

        return get_nowait

    return build


def _ask(uses: Uses, promise: Callable[[Any, Any], dict[str, int] | None]) -> Build:
    def build(original: Original) -> Original:
        running, known = _cpython.get_running_loop, uses.records.get

        def ask(self: Any) -> Any:
            answer = original(self)
            frame = sys._getframe(1)
            if private.is_internal(frame):
                return answer
            record, loop = known(id(self)), running()
            if loop is not None and answer is True and type(uses) is Events:
                uses.is_found_set(self, loop, asked=True)
            # What was used without a question in this loop counts in any case.
            if loop is not None and (
                record is None or not record.plainly or record.loop() is not loop
            ):
                left, task = promise(self, answer), _cpython.task_in(loop)
                if left is not None and task is not None:
                    if promise is _has_size and is_taken_from_as_ever(self):
                        uses.steps.counts_items(task, self, left, frame)
                    else:
                        uses.steps.asks(task, self, left, frame)
            return answer

        return ask

    return build


# What an answer promises: so many uses by a method need not wait.


def _free(lock: Any, locked: Any) -> dict[str, int] | None:
    return None if locked else {"acquire": 1}


def _is_set(event: Any, is_set: Any) -> dict[str, int] | None:
    return {"wait": 1} if is_set else None


def _has_items(queue: Any, empty: Any) -> dict[str, int] | None:
    return None if empty else {"get": 1}


def _has_room(queue: Any, full: Any) -> dict[str, int] | None:
    return None if full else {"put": 1}


def _has_size(queue: Any, items: int) -> dict[str, int] | None:
    return {"get": items, "put": private.room_in(queue, items)}


def _from_thread(emit: Emit, primitive: Any, method: str) -> None:
    """A primitive that is bound to a loop of another thread, touched from sync code."""
    home = private.bound_loop(primitive)
    if home is not None and home.is_running():
        emit(CalledFromThread(home, f"{type(primitive).__qualname__}.{method}", primitive))
