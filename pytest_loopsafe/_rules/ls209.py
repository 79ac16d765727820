"""LS209: what was set up on an earlier loop was not set up on a later one, which ran without it.

A task factory, a handler, a reader and an executor belong to their loop and go with it. What keeps
them from coming back is what says that they are there: ``if not installed: installed = True``.

Evidence: the code that set it up was reached again in a later loop and skipped it, and what bars
the way says that it is done (`pytest_loopsafe._rules.ls209_evidence`). In no later loop was it set
up again, by whomever, and nothing else was put in its place there. What the code had taken down
before its loop ended counts only where a later loop took it down again, and so counted on it.

Whoever chose in another loop, or outside of the one that was set up, did not choose for it: a first
run that alone prepares something has a loop of its own.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator
from contextlib import suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.starters import Starter, starters
from pytest_loopsafe._graph.variables import codes_with_variables
from pytest_loopsafe._probes.births import BirthProbe, LoopBorn
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopClosed, LoopEnding
from pytest_loopsafe._probes.reruns import Reruns
from pytest_loopsafe._probes.setups import SetUp, SetupProbe, TakenDown
from pytest_loopsafe._probes.tasks import called_code
from pytest_loopsafe._probes.variables import VariableCalls, VariableMissed, VariableSet
from pytest_loopsafe._rules.base import Detector, PassBegun, RunEnded, loop_births
from pytest_loopsafe._rules.ls209_evidence import Evidence, Setup
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, stack_here
from pytest_loopsafe._words.weak import Ref, nowhere, weak

NOT_REPEATED = Rule(
    "LS209",
    "setup-not-repeated",
    Severity.ERROR,
    "what was set up on an earlier loop was not set up on a later one",
    "Set it up on each loop: at the beginning of the function given to asyncio.run(), or in a "
    "loop_factory. Where it may be reached more than once in a loop, remember the loop and not a "
    "flag: a weakref.WeakSet of the loops that have it.",
)

_MAX_PLACES = 1_000
_MAX_KINDS = 50
_MAX_LOOPS = 100

Key = tuple[str, object]
"""What is set up, and which of its kind."""


@dataclass
class _Place:
    """What can be in a loop but once: its task factory, its handler for a signal.

    Attributes:
        last: what was put there, by the ``id()`` of its kind, each time the last.
        kinds: the kinds, and in which loop each was put there last, or was tried.
        taken_down: the last loop in which the code asked for it to be taken down.
        missed: the last loop in which it was asked for in vain; None where nobody needs to ask.
    """

    last: dict[int, Setup] = field(default_factory=dict)
    kinds: dict[int, tuple[object, int]] = field(default_factory=dict)
    taken_down: int = 0
    missed: int | None = None

    def lost(self) -> Iterator[Setup]:
        """What was there at the end of its loop, where no later one had it or another instead."""
        for setup in self.last.values():
            number = setup.loop.number
            since = {one for one, (_, loop) in self.kinds.items() if loop > number}
            is_needed = setup.is_over and (not setup.is_down or self.taken_down > number)
            is_needed &= self.missed is None or self.missed > number
            if is_needed and setup.kind not in since and since <= setup.beside:
                yield setup


class SetupNotRepeated(Detector):
    """LS209 at the end of the run."""

    rules = (NOT_REPEATED,)
    probes = (SetupProbe(), LifeProbe(), BirthProbe())
    judges = (
        SetUp,
        TakenDown,
        VariableSet,
        VariableMissed,
        LoopBorn,
        LoopEnding,
        LoopClosed,
        PassBegun,
        RunEnded,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._places: dict[Key, _Place] = {}
        self._there: dict[int, dict[Key, list[Setup]]] = {}
        """For each open loop what was put where, the last of it last."""
        self._births: dict[int, tuple[Starter, ...]] = {}
        self._ended = 0
        self._variables = VariableCalls()
        self._inside = Reruns(lambda: (self._running(), None))
        self._outside = Reruns(lambda: (self._running() or self._ended + 1, None))

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what is set up; report what never was again."""
        if isinstance(sighting, SetUp):
            self._set_up(sighting)
        elif isinstance(sighting, TakenDown):
            self._take_down(sighting)
        elif isinstance(sighting, LoopBorn):
            _put(self._births, self.loops.of(sighting.loop).number, starters(), _MAX_LOOPS)
        elif isinstance(sighting, VariableSet):
            self._set_variable(sighting.variable)
        elif isinstance(sighting, VariableMissed):
            place = self._places.get(("context variable", id(sighting.variable)))
            if place is not None:
                place.missed = max(place.missed or 0, self._running())
        elif isinstance(sighting, PassBegun):
            self._variables.follow(codes_with_variables())
        elif isinstance(sighting, LoopEnding):
            self._ended = max(self._ended, self.loops.of(sighting.loop).number)
            self._look_at_variables(self.loops.of(sighting.loop).number, sighting.context)
        elif isinstance(sighting, LoopClosed):
            self._is_over(self._there.pop(self.loops.of(sighting.loop).number, {}))
        elif isinstance(sighting, RunEnded):
            for setup in [one for place in self._places.values() for one in place.lost()]:
                for later, owner in Evidence(self.graph, self.loops, setup).found():
                    yield _not_repeated(setup, later, owner)
            self.close()

    def close(self) -> None:
        """No function need be followed any more."""
        self._inside.stop()
        self._outside.stop()
        self._variables.stop()

    def forked(self) -> None:
        """Go on in a forked child."""
        self._inside.forked()

    def _running(self) -> int:
        loop = _cpython.get_running_loop()
        return self.loops.of(loop).number if loop is not None else 0

    def _set_up(self, sighting: SetUp) -> None:
        loop, slot = self.loops.of(sighting.loop), (sighting.what, sighting.place)
        kind, bearer = _kind_of(sighting.thing)
        key = slot
        if sighting.what in _MANY:  # known by what they call: a descriptor is another's tomorrow
            key = (sighting.what, (id(kind), id(bearer())))
        place = self._places.get(key) or _put(self._places, key, _Place(), _MAX_PLACES)
        _put(place.kinds, id(kind), (kind, loop.number), _MAX_KINDS)
        if sighting.refused:
            return
        there = self._in(loop).setdefault(slot, [])
        for one in there:
            one.is_down = one.thing() is not sighting.thing
        known = place.last.get(id(kind))
        if known is None or known.loop.number != loop.number:
            known = self._setup(sighting, loop, kind, bearer, place)
        if known is not None and all(one.is_down for one in there):  # else it was put back
            known.is_down = False
            _put(place.last, id(kind), known, _MAX_KINDS)
            there.append(known)
            del there[:-_MAX_KINDS]

    def _in(self, loop: LoopInfo) -> dict[Key, list[Setup]]:
        there = self._there.get(loop.number)
        return there if there is not None else _put(self._there, loop.number, {}, _MAX_LOOPS)

    def _setup(
        self, sighting: SetUp, loop: LoopInfo, kind: object, bearer: Ref, place: _Place
    ) -> Setup | None:
        within = _cpython.get_running_loop() is sighting.loop
        chain = starters(within=within)
        if not chain:
            return None
        return Setup(
            name=_name(sighting),
            kind=id(kind),
            loop=loop,
            frames=stack_here(),
            chain=chain,
            parts=(weak(sighting.thing), bearer, *(one.bearer for one in chain)),
            thing=weak(sighting.thing),
            beside=frozenset(n for n, (_, there) in place.kinds.items() if there == loop.number),
            birth=() if within else self._births.get(loop.number, ()),
            reruns=self._inside if within else self._outside,
            needs_thread=sighting.what == "signal handler",
        )

    def _is_over(self, there: dict[Key, list[Setup]]) -> None:
        """A loop is gone: follow from here on whoever had set it up."""
        for setup in (one for setups in there.values() for one in setups):
            setup.is_over = True
            for starter in setup.chain:
                setup.reruns.follow(starter.code, starter.bearer)

    def _set_variable(self, variable: ContextVar[Any]) -> None:
        """In the running loop, if any: that of a task is looked for where the loop ends."""
        loop = _cpython.get_running_loop()
        if loop is None:
            return
        key, info = ("context variable", id(variable)), self.loops.of(loop)
        place = self._places.get(key) or _put(self._places, key, _Place(missed=0), _MAX_PLACES)
        place.kinds[id(variable)] = variable, info.number
        known = place.last.get(id(variable))
        if known is None or known.loop.number != info.number:
            sighting = SetUp(loop, f"context variable {variable.name!r}", None, None)
            known = self._setup(sighting, info, variable, nowhere, place)
            if known is not None:
                place.last[id(variable)] = known
                self._in(info)[key] = [known]

    def _look_at_variables(self, number: int, context: Context | None) -> None:
        """What was set for the whole run is still set, in what its Runner has run all in."""
        for key, setups in self._there.get(number, {}).items():
            if key[0] == "context variable" and key in self._places:
                variable: Any = self._places[key].kinds[setups[0].kind][0]
                setups[0].is_down = context is None or variable not in context

    def _take_down(self, sighting: TakenDown) -> None:
        number, slot = self.loops.of(sighting.loop).number, (sighting.what, sighting.place)
        there = self._there.get(number, {})
        for one in there.get(slot, ()):
            one.is_down = True
        if sighting.what in _MANY:  # it may be put there again, for another descriptor
            there.pop(slot, None)
        place = self._places.get(slot)
        if place is not None:
            place.taken_down = number


_MANY = ("reader", "writer")


def _put(where: dict[Any, Any], key: object, value: Any, most: int) -> Any:
    """Keep something, and of all that is kept the last."""
    where.pop(key, None)
    where[key] = value
    if len(where) > most:
        del where[next(iter(where))]
    return value


def _name(sighting: SetUp) -> str:
    """What a report calls it."""
    if type(sighting.place) is int and sighting.what == "signal handler":
        with suppress(ValueError):
            return f"a handler for {signal.Signals(sighting.place).name}"
    return f"{'the' if sighting.place is None else 'a'} {sighting.what}"


def _kind_of(thing: Any) -> tuple[object, Ref]:
    """What is the same each time that it is set up, and whose method it is."""
    while type(thing) is functools.partial:
        thing = thing.func
    code = called_code(thing)
    return (type(thing) if code is None else code), weak(
        thing.__self__ if type(thing) is MethodType else None
    )


def _not_repeated(setup: Setup, later: LoopInfo, owner: str) -> Observation:
    return Observation(
        Finding(
            NOT_REPEATED,
            f"{setup.name} was set up on {setup.loop} and not on {later}, which ran the same "
            f"code without it, since {owner} says that it is done",
            later,
            setup.loop,
            (Stack("it was set up here", setup.frames), *loop_births(setup.loop, later)),
            NOT_REPEATED.remedy,
            home_state="closed",
            owner=owner,
        ),
        identity=(setup.name, id(setup.chain[0].code), owner),
    )
