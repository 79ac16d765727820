"""LS208: a lock, semaphore or condition was replaced while it was held or waited on.

Evidence: at its first use a gate is in a place (a variable, an attribute, an entry under a key),
and the one that was there at its own first use is another, which is held or waited on at this
moment. Whoever comes now takes the new one, and is inside together with whoever holds the old
one; nothing raises. A gate that never was in that place, a local variable or another object's,
replaces nothing.

A semaphore with another number of permits may be a new limit for later calls: that is a warning.

One that was made anew at every access has no place at all. Evidence: two of one line's making are
held at once by two tasks of one loop, who took them at one place, and nothing but the functions of
its own holder refers to the one: nobody else can ever come to it. The function that takes it has
made it, or got it from one that gives nothing else, and does nothing else with it; or it was put
somewhere, and is there no more. What is made because nobody has given one is left alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import CodeType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._bytecode.results import fate_of
from pytest_loopsafe._probes.gates import GateMade, GateProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.primitives import UseProbe
from pytest_loopsafe._probes.slots import Maker, Place, Running, surroundings
from pytest_loopsafe._probes.uses import CouldWait, PrimitiveUsed
from pytest_loopsafe._rules.base import Detector, PassEnded
from pytest_loopsafe._rules.uses import ByPrimitive
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.naming import a, name_primitive
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, is_library, live_frames, stack_here
from pytest_loopsafe._words.weak import Ref, weak

RULE = Rule(
    "LS208",
    "replaced-while-held",
    Severity.ERROR,
    "a lock, semaphore or condition was replaced while it was held or waited on",
    "Make it once for each loop and keep it (LoopLocal of pytest_loopsafe.recipes does), and "
    "never replace one that is locked.",
)

_MAX_ENTRIES = 1_000
_MAX_PLACES = 1_000


_MAX_SITES = 1_000
_MAX_ALIKE = 8
"""So many of one line's making are looked at, the last that were taken."""


@dataclass(frozen=True)
class _Made:
    permits: int | None
    frames: tuple[Frame, ...]
    functions: tuple[Running, ...]

    @cached_property
    def _around(self) -> tuple[tuple[Place, ...], tuple[Maker, ...]]:
        return surroundings(self.functions)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the functions that made it may have put it."""
        return self._around[0]

    @property
    def makers(self) -> tuple[Maker, ...]:
        """These functions, the innermost first."""
        return self._around[1]


@dataclass(frozen=True)
class _Last:
    """The gate that was in a place when one was looked for there the last time."""

    gate: Ref
    permits: int | None
    place: Place

    def is_gone(self, place: Place) -> bool:
        """Whether what had the place is gone by now, and another has its ``id()``."""
        return self.place.holder is not place.holder


@dataclass(eq=False)
class _Taken:
    """A gate that was taken for the first time, by which task, and where.

    `alone` says that nobody but the functions of its holder referred to it.
    """

    gate: Ref
    made: _Made
    loop: LoopInfo
    task: Ref
    code: CodeType
    offset: int
    alone: bool = False

    def is_beside(self, other: _Taken) -> bool:
        """Whether another was taken at the same place, by another task of the same loop."""
        same_place = self.code is other.code and self.offset == other.offset
        return same_place and self.loop is other.loop and self.task() is not other.task()

    def is_held(self) -> bool:
        """Whether somebody is in it at this moment."""
        gate = self.gate()
        if gate is None:
            return False
        permits = self.made.permits
        return _cpython.in_use(gate) or (
            permits is not None and _cpython.free_permits(gate) < permits
        )


@dataclass(frozen=True)
class _Unshared:
    """Two that are held at once, and of which one is reached by its holder alone."""

    one: _Taken
    other: _Taken
    name: str


_Site = tuple[int, int]
"""The code that made a gate, by its ``id()``, and where in it."""


class ReplacedWhileHeld(Detector):
    """LS208."""

    rules = (RULE,)
    probes = (GateProbe(), UseProbe())
    judges = (GateMade, PrimitiveUsed, CouldWait, PassEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._made: ByPrimitive[list[_Made]] = ByPrimitive(list)
        self._last: dict[object, _Last] = {}
        self._taken: ByPrimitive[list[_Taken]] = ByPrimitive(list)
        self._alike: dict[_Site, deque[_Taken]] = {}
        self._unshared: dict[_Site, _Unshared] = {}
        self._told: dict[_Site, _Made] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note where a gate may be put; at its use, look who was there before."""
        if isinstance(sighting, GateMade):
            made = _Made(sighting.permits, sighting.frames, sighting.functions)
            self._made.of(sighting.gate)[:] = [made]
        elif isinstance(sighting, PrimitiveUsed):
            yield from self._used(sighting.primitive)
        elif isinstance(sighting, CouldWait):
            self._held(sighting)
        else:
            unshared, self._unshared = self._unshared, {}
            self._alike.clear()
            for site, pair in unshared.items():
                severity = _how_bad(pair.one) if site not in self._told else None
                if severity is not None:
                    yield self._is_unshared(pair, severity)

    def _used(self, gate: Any) -> Iterator[Observation]:
        known = self._made.of(gate)
        if not known:
            return
        made = known.pop()
        self._take(gate, made)
        for place in made.places:
            slot = _slot(place, gate)
            if slot is None:
                continue
            earlier = self._last.get(slot)
            if len(self._last) < _MAX_PLACES:
                self._last[slot] = _Last(weak(gate), made.permits, place)
            before = earlier.gate() if earlier is not None else None
            if earlier is None or before is None or before is gate or earlier.is_gone(place):
                continue
            permits = earlier.permits
            if _cpython.in_use(before) and not _is_moved(place, before):
                self._told[_site(made)] = made
                yield self._found(gate, made, another_limit=permits != made.permits)
                return

    def _take(self, gate: Any, made: _Made) -> None:
        frame = next(
            (one for one in reversed(live_frames()) if not is_library(one.f_code.co_filename)), None
        )
        running, task = _cpython.get_running_loop(), _cpython.current_task()
        site = _site(made)
        if frame is None or running is None or task is None:
            return
        if site in self._alike or len(self._alike) < _MAX_SITES:
            loop, where = self.loops.of(running), (frame.f_code, frame.f_lasti)
            taken = _Taken(weak(gate), made, loop, weak(task), *where)
            self._alike.setdefault(site, deque(maxlen=_MAX_ALIKE)).append(taken)
            self._taken.of(gate)[:] = [taken]

    def _held(self, sighting: CouldWait) -> None:
        """Its holder was suspended with it: who else is in one of the same making?"""
        known = self._taken.of(sighting.primitive) if sighting.holder is not None else []
        for own in known:
            own.alone = sighting.alone
            for other in self._alike.get(_site(own.made), ()):
                if (own.alone or other.alone) and own.is_beside(other) and other.is_held():
                    first, second = (own, other) if own.alone else (other, own)
                    name = name_primitive(sighting.primitive)
                    pair = _Unshared(first, second, name)
                    self._unshared.setdefault(_site(own.made), pair)

    def _is_unshared(self, pair: _Unshared, severity: Severity) -> Observation:
        made = pair.one.made
        if made.permits != pair.other.made.permits:
            severity = Severity.WARNING
        self._told[_site(made)] = made
        bearer = next((thing for one in made.makers if (thing := one.bearer()) is not None), None)
        return Observation(
            Finding(
                RULE,
                f"two tasks were in {a(pair.name)} of their own at once, made anew for each of "
                "them: nobody else can reach it, so it keeps nobody out",
                pair.one.loop,
                None,
                (
                    Stack("it was made here", made.frames),
                    Stack("and the other one here", pair.other.made.frames),
                ),
                "Make it once for those that it is to keep apart: where they are started, and hand "
                "it to each; or one for each loop, with LoopLocal of pytest_loopsafe.recipes.",
            ),
            users=() if bearer is None else (bearer,),
            identity=_site(made),
            severity=severity,
        )

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


def _site(made: _Made) -> _Site:
    maker = made.makers[0] if made.makers else None
    return (id(maker.code), maker.offset) if maker is not None else (0, 0)


def _how_bad(taken: _Taken) -> Severity | None:
    """What it is worth that a gate keeps nobody out; None where it may be meant so.

    Who makes one in a variable of its own, and enters it once, may do so for nothing.
    """
    for depth, maker in enumerate(taken.made.makers):
        fate = fate_of(maker.code, maker.offset)
        if maker.code is taken.code:
            if not fate.entered or fate.stored or fate.handed or fate.returned:
                return None
            if not depth and fate.looked_up:
                return None
            if fate.defaulted:  # a mapping that is never filled, or a lock that one may be given
                return Severity.WARNING
            if depth or fate.offered or not fate.kept:
                return Severity.ERROR
            return None if fate.entered_again else Severity.WARNING
        if fate.stored:  # and it is there no more
            return Severity.ERROR
        if not fate.returned or fate.handed:
            return None
    return None


def _slot(place: Place, gate: Any) -> object | None:
    """The place, and under which key, where a gate is in it now; None where it is not."""
    holder = (id(place.holder), place.name)
    if place.now() is gate:
        return holder
    for keys, value in place.entries(_MAX_ENTRIES):
        if value is gate:
            return (*holder, _identity(keys))
    return None


def _is_moved(place: Place, gate: Any) -> bool:
    """Whether a gate is in a list or tuple there now, under another index than it was."""
    is_dict = type(place.now()) is dict
    return not is_dict and any(value is gate for _, value in place.entries(_MAX_ENTRIES))


def _identity(key: Any) -> object:
    """What tells a key from others without comparing it: of plain data, itself."""
    if type(key) in (str, int, bytes):
        return key
    if type(key) is tuple:
        return tuple(_identity(one) for one in key)
    return id(key)
