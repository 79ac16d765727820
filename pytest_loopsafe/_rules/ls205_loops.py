"""LS205: one slot that two live loops take from each other.

Each asks whether what is there is its own, finds the other's, and makes it anew; by the time that
the first one comes again it finds the second one's. Nothing raises, and each turn costs a
connection, or what others have just been given.

Evidence: something that belongs to a loop (a lock, a connection, a client, a task) is made by a
function that writes to a place, and what is there is what another loop had made for it, who in its
turn had found there what this loop had made. Whether what is in a place is what was made is told by
identity: it is the thing itself, the object whose method made it, or one that has it. A function
that puts a new one there whatever there was, as a record of the last call, takes nothing away.

As long as one loop is alive, as in most programs, it is only noted what was made, and by whom:
where these functions write to is read from their bytecode once there is a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._bytecode.places import stored_by
from pytest_loopsafe._graph.looks import looks
from pytest_loopsafe._probes.clients import ResourceMade, ResourceProbe
from pytest_loopsafe._probes.connections import ConnectionMade, ConnectionProbe
from pytest_loopsafe._probes.gates import GateMade, GateProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.slots import Maker, Making, Place, Running, surroundings
from pytest_loopsafe._probes.tasks import TaskProbe, TaskStarted
from pytest_loopsafe._rules.base import Detector, PassEnded, loop_births
from pytest_loopsafe._rules.ls205 import CHURN
from pytest_loopsafe._words.attributes import attributes
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.stacks import Frame, Stack
from pytest_loopsafe._words.weak import Ref, weak

_REMEDY = (
    "Keep one for each loop (LoopLocal of pytest_loopsafe.recipes does), or hand the work to the "
    "one loop that has it, with asyncio.run_coroutine_threadsafe()."
)
_MAX_PLACES = 1_000
_MAX_LOOPS = 20
_MAX_ENTRIES = 20
"""Of a collection with more entries it is not looked at which one is made anew."""

_Key = tuple[int, str, object]


@dataclass(frozen=True)
class _Thing:
    """Something that was made in a loop, by functions that are still to be read."""

    loop: LoopInfo
    ref: Ref
    thing: Ref
    functions: tuple[Running, ...]
    frames: tuple[Frame, ...]

    @property
    def key(self) -> object:
        """The same for what the same functions make for the same objects."""
        return tuple((id(one.code), id(one.first()), id(one.function())) for one in self.functions)

    @property
    def has_ended(self) -> bool:
        """Whether its loop makes nothing more."""
        loop = self.ref()
        return loop is None or loop.is_closed()


@dataclass(frozen=True)
class _Made:
    """What was made last for a place, and in which loop."""

    loop: LoopInfo
    things: tuple[Ref, ...]
    makers: tuple[Maker, ...]
    frames: tuple[Frame, ...]

    def was_asked_for(self, name: str) -> bool:
        """Whether a function that writes to this name looks at anything before it comes to it."""
        return any(
            seen.before or seen.tested
            for maker in self.makers
            if name in stored_by(maker.code).names
            for seen in (looks(maker.code, maker.offset),)
        )

    def is_in(self, content: Any) -> bool:
        """Whether it is what is there, or a part of that."""
        own = [thing for ref in self.things if (thing := ref()) is not None]
        parts = (content, *attributes(content).values())
        return any(part is thing for part in parts for thing in own)


@dataclass
class _History:
    """What became of a place: what was made last, and who has taken it from which loop."""

    place: Place
    last: _Made
    lost_to: dict[int, LoopInfo] = field(default_factory=dict)


@dataclass(frozen=True)
class _Churn:
    place: Place
    made: _Made
    before: _Made
    other: LoopInfo


class SlotOfTwoLoops(Detector):
    """LS205 of loops that live at the same time."""

    rules = (CHURN,)
    probes = (GateProbe(), ResourceProbe(), ConnectionProbe(), TaskProbe())
    judges = (GateMade, ResourceMade, ConnectionMade, TaskStarted, PassEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._of_one_loop: dict[object, _Thing] = {}  # what the only one so far has made
        self._histories: dict[_Key, _History] = {}
        self._churns: dict[_Key, _Churn] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what is made for which place, and what was there; report what went to and fro."""
        if isinstance(sighting, GateMade):
            self._met(sighting, sighting.gate)
        elif isinstance(sighting, ResourceMade):
            self._met(sighting, sighting.resource)
        elif isinstance(sighting, ConnectionMade):
            self._met(sighting, sighting.thing)
        elif isinstance(sighting, TaskStarted):
            self._met(sighting, sighting.coroutine)
        else:
            churns, self._churns = self._churns, {}
            for key, churn in churns.items():
                if churn.made.was_asked_for(churn.place.name):
                    yield self._found(churn, key)

    def _met(self, making: Making, thing: Any) -> None:
        """Note what was made, and by whom. While there is one loop, that is all."""
        loop = _cpython.get_running_loop()
        if loop is None or not making.functions:
            return
        one = _Thing(self.loops.of(loop), weak(loop), weak(thing), making.functions, making.frames)
        first = next(iter(self._of_one_loop.values()), one)
        if first.loop is not one.loop and first.has_ended:
            self._of_one_loop.clear()  # what has ended takes nothing from anybody
            first = one
        has_room = not self._histories and len(self._of_one_loop) < _MAX_PLACES
        if first.loop is one.loop and has_room:
            self._of_one_loop[one.key] = one
            return
        earlier, self._of_one_loop = self._of_one_loop, {}
        for each in (*earlier.values(), one):
            self._note(each)

    def _note(self, one: _Thing) -> None:
        places, makers = surroundings(one.functions)
        things = (one.thing, *(maker.bearer for maker in makers))
        made = _Made(one.loop, things, makers, one.frames)
        for place in places:
            if place.holder is None:  # the object is gone by now
                continue
            for key, content in _contents(place):
                self._turn((id(place.holder), place.name, key), place, content, made)

    def _turn(self, key: _Key, place: Place, content: Any, made: _Made) -> None:
        history = self._histories.get(key)
        if history is None:
            if len(self._histories) < _MAX_PLACES:
                self._histories[key] = _History(place, made)
            return
        before, history.last = history.last, made
        if before.loop is made.loop or content is None or not before.is_in(content):
            return
        other = history.lost_to.get(made.loop.number)
        if other is not None:
            self._churns.setdefault(key, _Churn(place, made, before, other))
        if len(history.lost_to) < _MAX_LOOPS:
            history.lost_to[before.loop.number] = made.loop

    def _found(self, churn: _Churn, key: _Key) -> Observation:
        owner, loop, other = self._path(churn.place), churn.made.loop, churn.other
        return Observation(
            Finding(
                CHURN,
                f"{loop} and {other} live at the same time and take {owner or churn.place.name} "
                f"from each other: {loop} has made it anew, for {other} had put its own in the "
                f"place of what {loop} had made",
                loop,
                other,
                (
                    Stack(f"made anew in {loop}", churn.made.frames),
                    Stack(f"and before that in {churn.before.loop}", churn.before.frames),
                    *loop_births(loop, other),
                ),
                _REMEDY,
                owner=owner,
            ),
            identity=key,
        )

    def _path(self, place: Place) -> str | None:
        if place.globals is not None:
            return f"{place.globals.get('__name__')}.{place}"
        bearer = place.bearer()
        path = self.graph.path((bearer,)) if bearer is not None else None
        return f"{path}.{place}" if path is not None else None


def _contents(place: Place) -> Iterator[tuple[object, Any]]:
    """What is in a place, and in the entries of a small collection there."""
    content = place.now()
    yield None, content
    for keys, value in place.entries(_MAX_ENTRIES):
        if type(content) is not dict or type(keys[0]) is str:
            yield keys, value
