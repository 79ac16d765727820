"""LS203 and LS205: one client was wanted for a loop, and several were built.

Clients that the same line builds in the same loop are rivals if one of them ends up in the hands of
a global. Where their tasks ran at the same time, both found the old client stale before either had
replaced it: one is lost, with its connection open (LS203). One after the other, it was rebuilt for
no reason (LS205).
"""

from __future__ import annotations

import gc
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.bindings import is_open
from pytest_loopsafe._probes.clients import ResourceClosed, ResourceMade, ResourceProbe
from pytest_loopsafe._probes.connections import ConnectionDropped, ConnectionMade, ConnectionProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopClosing
from pytest_loopsafe._rules.base import Detector, TaskLife, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, live_frames, stack_here, stores_shared

RACE = Rule(
    "LS203",
    "rebind-race",
    Severity.ERROR,
    "concurrent first use in a new loop built more than one instance",
    "Guard the rebuild with one in-flight future per loop: the first caller makes it, the others "
    "await the same one (pytest_loopsafe.recipes.LoopLocal does). A check and a replacement with "
    "an await between them is a race.",
)
CHURN = Rule(
    "LS205",
    "rebind-churn",
    Severity.WARNING,
    "a resource was rebuilt more than once within one loop",
    "Rebuild only when the running loop is another one: compare the loop itself, through a weak "
    "reference.",
)


_RECONNECTED = 2
"""A client that was replaced once within a loop may have lost its connection."""


@dataclass(eq=False)
class _Made:
    """One client: where, in which loop and by which task it was built."""

    ref: Callable[[], Any]
    kind: str
    loop: LoopInfo
    frames: tuple[Frame, ...]
    life: TaskLife
    shared: bool
    closed: bool = False
    connected: bool = False
    dropped: bool = False
    transports: dict[int, weakref.ref[Any]] = field(default_factory=dict)

    @property
    def left_open(self) -> bool:
        """Whether a connection of it was dropped, or is open still."""
        alive = [thing for ref in self.transports.values() if (thing := ref()) is not None]
        return self.dropped or any(is_open(thing) for thing in alive)


class Rebinds(Detector):
    """LS203 and LS205 at the end of each loop."""

    rules = (RACE, CHURN)
    probes = (ResourceProbe(), ConnectionProbe(), LifeProbe())
    judges = (ResourceMade, ResourceClosed, ConnectionMade, ConnectionDropped, LoopClosing)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._made: dict[object, list[_Made]] = defaultdict(list)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Group clients by the line that builds them; look at each group when the loop ends."""
        if isinstance(sighting, ResourceMade):
            self._note(sighting)
        elif isinstance(sighting, ResourceClosed):
            for group in self._made.values():
                for one in group:
                    if one.ref() is sighting.resource:
                        one.closed = True
        elif isinstance(sighting, ConnectionMade):
            task = _cpython.current_task()
            for group in self._made.values():
                for one in group:
                    if one.life.is_of(task):
                        one.connected = True
                        with suppress(TypeError):
                            one.transports[id(sighting.thing)] = weakref.ref(sighting.thing)
        elif isinstance(sighting, ConnectionDropped):
            for group in self._made.values():
                for one in group:
                    one.dropped |= id(sighting.thing) in one.transports
        elif isinstance(sighting, LoopClosing):
            info = self.loops.of(sighting.loop)
            # The last made first: a client is made after its pool, and is what the user knows.
            for site, group in reversed(list(self._made.items())):
                rivals = [one for one in group if one.loop is info]
                if len(rivals) > 1:
                    yield from self._judge(rivals)
                if rivals:
                    self._made[site] = [one for one in group if one.loop is not info]

    def _note(self, sighting: ResourceMade) -> None:
        frames = stack_here()
        site = Stack("", frames).site
        if site is None or site.library:
            return
        kind = f"{type(sighting.resource).__module__}.{type(sighting.resource).__qualname__}"
        info = self.loops.of(sighting.loop)
        shared = any(
            frame.f_lineno == site.line and stores_shared(frame.f_code, site.line)
            for frame in live_frames()
            if frame.f_code.co_filename == site.file
        )
        life = TaskLife(sighting.task)
        made = _Made(_reference(sighting.resource), kind, info, frames, life, shared)
        made.connected = not _cpython.shows_connections(sighting.loop)
        key = (kind, site.file, site.line)
        made.life.meet(one.life for one in self._made[key] if one.loop is info)
        self._made[key].append(made)

    def _judge(self, rivals: list[_Made]) -> Iterator[Observation]:
        winner, path = None, None
        for one in reversed(rivals):
            resource = one.ref()
            owners = self.graph.owners(resource) if resource is not None else ()
            owner = next((owner for owner in owners if owner.own and not owner.hidden), None)
            if owner is not None:
                if winner is not None:
                    return  # each is held: they are several on purpose
                winner, path = one, owner.path
        lost = [one for one in rivals if one is not winner and not self._is_closed(one)]
        if winner is None:
            # Nothing of the others is left.
            lost = [one for one in lost if one.left_open or (one.connected and not one.transports)]
        if winner is None and lost and any(one.closed for one in rivals):
            # Some were closed and are gone, others are lost: they were for one and the same place.
            winner = next(one for one in rivals if one.closed)
            path = "one place" if winner.shared else None
        if winner is None or path is None:
            return
        if any(one.life.overlaps for one in rivals) and lost:
            yield self._found(
                RACE,
                f"{len(rivals)} {winner.kind} were built at once in {winner.loop} for "
                f"{path}: "
                f"{len(lost)} of them {'is' if len(lost) == 1 else 'are'} lost, and nobody closed "
                f"{'it' if len(lost) == 1 else 'them'}",
                winner,
                lost[0],
                path,
            )
        elif len(rivals) > _RECONNECTED and not winner.closed:
            yield self._found(
                CHURN,
                f"{len(rivals)} {winner.kind} were built one after the other in {winner.loop} for "
                f"{path}",
                winner,
                next(one for one in rivals if one is not winner),
                path,
            )

    def _is_closed(self, made: _Made) -> bool:
        resource = made.ref()
        closed = self.graph.adapters.is_closed(resource) if resource is not None else None
        return made.closed or closed is True

    @staticmethod
    def _found(rule: Rule, message: str, winner: _Made, other: _Made, path: str) -> Observation:
        return Observation(
            Finding(
                rule,
                message,
                winner.loop,
                None,
                (
                    Stack("the one that is held was built here", winner.frames),
                    Stack("another was built here", other.frames),
                    *loop_births(winner.loop),
                ),
                rule.remedy,
                owner=path,
            )
        )


def _reference(resource: Any) -> Callable[[], Any]:
    """A weak reference; where the class has none (asyncpg's pool), its address, to be looked up."""
    try:
        return weakref.ref(resource)
    except TypeError:
        address, kind = id(resource), type(resource)
        return lambda: next(
            (one for one in gc.get_objects() if id(one) == address and type(one) is kind), None
        )
