"""LS203: concurrent first use in a new loop built more than one instance.

Evidence: several clients or connections were made in one loop by the same line, their tasks alive
at the same time; at rest one of them has a slot, the others have none and nobody closed them.
Both tasks found the old one stale before either had replaced it.

Loops that live in threads of their own are made for a slot too. Two threads made one each by the
same line of a function that looks at the slot first; one loop is held there, and the other by
nobody: its thread runs on, and nobody can stop it or hand it work.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe._ledger.makers import filled_if_empty_by, makers_of
from pytest_loopsafe._ledger.records import Batch, Maker
from pytest_loopsafe._ledger.rivals import Rivalry, rivalry
from pytest_loopsafe._probes.births import BirthProbe, LoopBorn
from pytest_loopsafe._probes.clients import ResourceProbe
from pytest_loopsafe._probes.connections import ConnectionProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe
from pytest_loopsafe._rules.base import Detector, PassEnded, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack
from pytest_loopsafe._words.weak import Ref, weak

RACE = Rule(
    "LS203",
    "rebind-race",
    Severity.ERROR,
    "concurrent first use in a new loop built more than one instance",
    "Guard the rebuild with one in-flight future per loop: the first caller makes it, the others "
    "await the same one (pytest_loopsafe.recipes.LoopLocal does). A check and a replacement with "
    "an await between them is a race.",
)


@dataclass(frozen=True)
class _MadeLoop:
    """A loop, the user's functions that made it, and the ``id()`` of the thread they ran in."""

    loop: Ref
    info: LoopInfo
    makers: tuple[Maker, ...]
    thread: int


class LoopRace(Detector):
    """LS203 of loops."""

    rules = (RACE,)
    probes = (BirthProbe(),)
    judges = (LoopBorn, PassEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._made: list[_MadeLoop] = []

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note who makes a loop; report those that were made for one slot and have none."""
        if isinstance(sighting, LoopBorn):
            makers = makers_of(None)
            if makers:
                info, thread = self.loops.of(sighting.loop), id(threading.current_thread())
                self._made.append(_MadeLoop(weak(sighting.loop), info, makers, thread))
            return
        made, self._made = self._made, []
        by_line: dict[tuple[int, int], list[_MadeLoop]] = {}
        for one in made:
            if not self.loops.is_closed(one.info):
                by_line.setdefault((id(one.makers[-1].code), one.makers[-1].line), []).append(one)
        for rivals in by_line.values():
            if len({one.thread for one in rivals}) > 1:
                yield from self._judge(rivals)

    def _judge(self, rivals: list[_MadeLoop]) -> Iterator[Observation]:
        if not any(filled_if_empty_by(maker) for one in rivals for maker in one.makers):
            return  # made for no slot: spare the search, which may read the whole heap
        held: list[tuple[_MadeLoop, str]] = []
        lost: list[_MadeLoop] = []
        for one in rivals:
            loop = one.loop()
            owners = self.graph.owners(loop) if loop is not None else ()
            owner = next((two for two in owners if two.own and not two.hidden), None)
            if owner is not None:
                held.append((one, owner.path))
            elif loop is not None and loop.is_running():
                lost.append(one)  # else it was left open (LS304)
        if len(held) != 1:
            return  # each is held, they are several on purpose; or none is
        [(winner, place)] = held
        names = set(_NAMES.findall(place))
        wanted = {
            one.key: one.call
            for one in winner.makers
            if not names.isdisjoint(filled_if_empty_by(one))
        }
        for one in lost:
            if any(wanted.get(maker.key, maker.call) != maker.call for maker in one.makers):
                yield Observation(
                    Finding(
                        RACE,
                        f"{one.info} and {winner.info} were made at once for {place}: nobody holds "
                        f"{one.info}, which runs on in its thread, and nobody can stop it",
                        None,
                        one.info,
                        loop_births(winner.info, one.info),
                        "Take a threading.Lock around the check and the making.",
                        owner=place,
                    )
                )


_NAMES = re.compile(r"\w+")


class RebindRace(Detector):
    """LS203 of clients and connections."""

    rules = (RACE,)
    probes = (ResourceProbe(), ConnectionProbe(), LifeProbe())
    judges = (PassEnded,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report each batch whose makers overlapped, and of which some are lost."""
        # The last made first: a client is made after its pool, and is what the user knows.
        for batch in reversed(self.ledger.ended):
            found = rivalry(batch, self.graph) if batch.overlapped else None
            if found is not None and found.lost:
                yield self._raced(batch, found)

    @staticmethod
    def _raced(batch: Batch, found: Rivalry) -> Observation:
        winner, lost = found.winner, found.lost
        made = "opened" if batch.of_connections else "built"
        which = f" ({lost[0].name})" if batch.of_connections else ""
        are, them = ("is", "it") if len(lost) == 1 else ("are", "them")
        return Observation(
            Finding(
                RACE,
                f"{batch.built} {batch.kind or 'connections'} were {made} at once in {batch.loop} "
                f"for {found.place}: {len(lost)} of them {are} lost, and nobody "
                f"closed {them}{which}",
                batch.loop,
                None,
                (
                    Stack(f"the one that is held was {made} here", winner.made),
                    Stack(f"another was {made} here", lost[0].made),
                    *loop_births(batch.loop),
                ),
                RACE.remedy,
                owner=found.path,
            )
        )
