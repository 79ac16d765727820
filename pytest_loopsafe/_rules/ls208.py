"""LS208: a lock, semaphore or condition was replaced while it was held or waited on.

Evidence: at its first use a gate is in a place (a variable, an attribute, an entry under a key),
and the one that was there at its own first use is another, which is held or waited on at this
moment. Whoever comes now takes the new one, and is inside together with whoever holds the old
one; nothing raises. A gate that never was in that place, a local variable or another object's,
replaces nothing.

A semaphore with another number of permits may be a new limit for later calls: that is a warning.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.gates import GateMade, GateProbe, Place
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.primitives import UseProbe
from pytest_loopsafe._probes.uses import PrimitiveUsed
from pytest_loopsafe._rules.base import Detector
from pytest_loopsafe._rules.uses import ByPrimitive
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.naming import a, name_primitive
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, stack_here

RULE = Rule(
    "LS208",
    "replaced-while-held",
    Severity.ERROR,
    "a lock, semaphore or condition was replaced while it was held or waited on",
    "Make it once for each loop and keep it: look it up in a WeakKeyDictionary keyed by the "
    "running loop, and never replace one that is locked.",
)

_MAX_ENTRIES = 1_000
_MAX_PLACES = 1_000


@dataclass(frozen=True)
class _Made:
    permits: int | None
    places: tuple[Place, ...]
    frames: tuple[Frame, ...]


class ReplacedWhileHeld(Detector):
    """LS208."""

    rules = (RULE,)
    probes = (GateProbe(), UseProbe())
    judges = (GateMade, PrimitiveUsed)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._made: ByPrimitive[list[_Made]] = ByPrimitive(list)
        self._last: dict[object, tuple[weakref.ref[Any], int | None]] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note where a gate may be put; at its use, look who was there before."""
        if isinstance(sighting, GateMade):
            made = _Made(sighting.permits, sighting.places, sighting.frames)
            self._made.of(sighting.gate)[:] = [made]
        elif isinstance(sighting, PrimitiveUsed):
            yield from self._used(sighting.primitive)

    def _used(self, gate: Any) -> Iterator[Observation]:
        known = self._made.of(gate)
        if not known:
            return
        made = known.pop()
        for place in made.places:
            slot = _slot(place, gate)
            if slot is None:
                continue
            ref, permits = self._last.get(slot, (None, None))
            before = ref() if ref is not None else None
            if len(self._last) < _MAX_PLACES:
                self._last[slot] = weakref.ref(gate), made.permits
            if before is not None and before is not gate and _cpython.in_use(before):
                yield self._found(gate, made, another_limit=permits != made.permits)
                return

    def _found(self, gate: Any, made: _Made, *, another_limit: bool) -> Observation:
        running = _cpython.get_running_loop()
        here = self.loops.of(running) if running is not None else None
        return Observation(
            Finding(
                RULE,
                f"{a(name_primitive(gate))} was replaced by another while it was held or waited "
                "on, and the new one is taken now: what they guard is no longer exclusive",
                here,
                None,
                (
                    Stack("the new one was made here", made.frames),
                    Stack("and is used here", stack_here()),
                ),
                RULE.remedy,
            ),
            about=(gate,),
            severity=Severity.WARNING if another_limit else None,
        )


def _slot(place: Place, gate: Any) -> object | None:
    """The place, and under which key, where a gate is in it now; None where it is not."""
    there = place.now()
    holder = (id(place.holder), place.name)
    if there is gate:
        return holder
    if type(there) is dict and len(there) <= _MAX_ENTRIES:
        for key, value in tuple(there.items()):
            if value is gate:
                return (*holder, _identity(key))
    return None


def _identity(key: Any) -> object:
    """What tells a key from others without comparing it: of plain data, itself."""
    if type(key) in (str, int, bytes):
        return key
    if type(key) is tuple:
        return tuple(_identity(one) for one in key)
    return id(key)
