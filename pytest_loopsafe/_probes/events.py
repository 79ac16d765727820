"""Events: in which loop their state changes, and who finds one set that an earlier loop has set.

An Event that a loop's end has set ("stop!") is still set in the next loop, unless somebody clears
it: what asks it there is told of an end that was another's. Nothing waits, so nothing binds and
nothing raises. An Event that is set once for good ("configured") looks the same to who asks. What
tells them apart is that the later loop announces it anew: somebody sets what is set, or clears it,
who has not asked.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._cpython import primitives as private
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.uses import Build, Original, Record, Uses
from pytest_loopsafe._words.weak import Ref, nowhere, weak

_MOST_ASKERS = 50
"""So many tasks that asked are remembered; where more did, nothing is told."""


@dataclass(frozen=True)
class EventChanged(Sighting):
    """An Event was set or cleared in a loop, and was not so before: told once in each loop."""

    event: Any
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class FoundSet(Sighting):
    """An Event is set since an earlier loop, and is asked or waited for: told once in each loop."""

    event: Any
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class AnnouncedAnew(Sighting):
    """Such an Event is set once more, or cleared, by who has not asked. After `FoundSet`."""

    event: Any
    loop: asyncio.AbstractEventLoop
    method: str


class _Event(Record):
    """What is known of an Event in the loop that uses it now, and in which loop it was set."""

    __slots__ = ("askers", "found", "set_in", "told")

    def __init__(self, primitive: weakref.ref[Any]) -> None:
        self.set_in: Ref | None = None
        super().__init__(primitive)

    def begin(self, loop: Any) -> None:
        """It is used in another loop than before."""
        super().begin(loop)
        self.found = self.told = False
        self.askers: dict[int, Ref] = {}

    def has_asked(self, task: Any) -> bool:
        """Whether this task asked it; a callback that is no task's asked nothing."""
        return task is not None and self.askers.get(id(task), nowhere)() is task


class Events(Uses):
    """All Events that were used in a loop."""

    def _record(self, primitive: weakref.ref[Any]) -> Any:
        return _Event(primitive)

    def is_found_set(self, event: Any, loop: Any, *, asked: bool) -> None:
        """Somebody asks an Event, or waits for it, that is set."""
        record = self.records.get(id(event))
        if record is None or record.set_in is None or record.set_in() is loop:
            return
        record = self.within(event, loop)
        if not record.found:
            record.found = True
            self.emit(FoundSet(event, loop))
        task = _cpython.task_in(loop) if asked else None
        if task is not None and len(record.askers) <= _MOST_ASKERS:
            record.askers[id(task)] = weak(task)

    def changes(self, event: Any, loop: Any, method: str) -> None:
        """An Event is about to be set or cleared."""
        sets = method == "set"
        effective = private.is_set(event) is not sets
        record = self.records.get(id(event))
        if effective and (record is None or not record.changed or record.loop() is not loop):
            if private.calling_user(sys._getframe(2)) is None:
                return  # a Queue's own
            self.within(event, loop).changed = True
            self.emit(EventChanged(event, loop))
        if record is not None and record.found and record.loop() is loop and not record.told:
            record.told = True
            if len(record.askers) <= _MOST_ASKERS and not record.has_asked(_cpython.task_in(loop)):
                self.emit(AnnouncedAnew(event, loop, method))
        if effective:
            self.of(event).set_in = weak(loop) if sets else None


def change(events: Events, from_thread: Any) -> Build:
    """Build a hook on ``set`` or ``clear``.

    Args:
        events: is told.
        from_thread: is told where no loop runs.
    """

    def build(original: Original) -> Original:
        def change(self: Any) -> Any:
            loop = _cpython.get_running_loop()
            if loop is not None:
                events.changes(self, loop, original.__name__)
            else:
                from_thread(events.emit, self, original.__name__)
                record = events.records.get(id(self))
                if record is not None:
                    record.set_in = None
            return original(self)

        return change

    return build
