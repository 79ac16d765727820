"""What is known of each primitive in the loop that uses it now, and when that is worth telling.

Each is told of a few times in each loop, so that a busy one costs little. A record goes with its
primitive: an ``id()`` is never taken for another's, and nothing is kept alive by being watched.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Sighting
from pytest_loopsafe._probes.locksets import Lockset
from pytest_loopsafe._probes.steps import Asked, Steps
from pytest_loopsafe._words.answers import Place
from pytest_loopsafe._words.weak import nowhere

Original = Callable[..., Any]
Build = Callable[[Original], Original]


@dataclass(frozen=True)
class PrimitiveUsed(Sighting):
    """A method that may have to wait was called: told once in each loop."""

    primitive: Any
    method: str
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class CouldWait(Sighting):
    """A task could have had to wait for a primitive, and would have bound it to this loop.

    Attributes:
        primitive: the one that the code named, a Condition and not the lock under it.
        loop: the loop.
        waits: it has to wait now.
        holder: the task that held it while another ran, if that is what was seen and it lives.
        taken: where it took it.
        asked: not empty, if each use so far had asked first. Whether the code listened to what it
            was told is to be judged at rest.
        alone: whether nobody but the functions of the holder refers to it.
        under: the locks under which it was taken each time so far, if there are any. Whether one
            of them keeps others away is to be judged at rest.
    """

    primitive: Any
    loop: asyncio.AbstractEventLoop
    waits: bool
    holder: Any = None
    taken: Place | None = None
    asked: tuple[Asked, ...] = ()
    alone: bool = False
    under: Lockset | None = None


_MAX_PLACES = 50
"""So many places that ask before they use one primitive are told of in one loop."""


class Record:
    """One primitive, in one loop.

    `plainly` says that it was used there without having been asked, `settled` that there is nothing
    more to tell, and `changed` that it is an event whose state was changed there.
    """

    __slots__ = ("asked", "changed", "loop", "plainly", "primitive", "settled", "used")

    def __init__(self, primitive: weakref.ref[Any]) -> None:
        self.primitive = primitive
        self.begin(nowhere)

    def begin(self, loop: Any) -> None:
        """It is used in another loop than before; given by a reference."""
        self.loop = loop
        self.settled = self.plainly = self.changed = self.used = False
        self.asked: dict[object, Asked] = {}

    def notes(self, asked: Asked) -> bool:
        """Whether it is news that it was used here and so."""
        key = asked.key
        if key in self.asked or len(self.asked) >= _MAX_PLACES:
            return False
        self.asked[key] = asked
        return True


class Uses:
    """The primitives of one kind: what was told of each."""

    def __init__(self, emit: Emit, steps: Steps) -> None:
        self.records: dict[int, Any] = {}
        self.emit = emit
        self.steps = steps

    def clear(self) -> None:
        """Begin anew."""
        self.records.clear()

    def of(self, primitive: Any) -> Any:
        """What is known of a primitive."""
        key = id(primitive)
        record = self.records.get(key)
        if record is None:
            records = self.records

            def forget(ref: object) -> None:
                records.pop(key, None)

            record = records[key] = self._record(weakref.ref(primitive, forget))
        return record

    def _record(self, primitive: weakref.ref[Any]) -> Any:
        return Record(primitive)

    def within(self, primitive: Any, loop: Any) -> Any:
        """What is known of a primitive in a loop."""
        record = self.of(primitive)
        if record.loop() is not loop:
            record.begin(weakref.ref(loop))
        return record

    def use(
        self,
        primitive: Any,
        method: str,
        loop: Any,
        user: FrameType,
        *,
        waits: bool,
        counts: bool,
    ) -> None:
        """It is used. It `counts`, if it has to wait, or might have had to."""
        record = self.within(primitive, loop)
        if not record.used:
            record.used = True
            self.emit(PrimitiveUsed(primitive, method, loop))
        if not counts:
            record.settled = method == "put"  # without a limit, which stays so
            return
        task = _cpython.task_in(loop)
        asked = None if waits else self.steps.answered(task, primitive, method, user)
        if asked is None:
            record.settled = record.plainly = True
            self.emit(CouldWait(primitive, loop, waits))
        elif record.notes(asked):
            self.emit(CouldWait(primitive, loop, waits, asked=(asked,)))
