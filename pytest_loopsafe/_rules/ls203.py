"""LS203: concurrent first use in a new loop built more than one instance.

Evidence: several clients or connections were made in one loop by the same line, their tasks alive
at the same time; at rest one of them has a slot, the others have none and nobody closed them.
Both tasks found the old one stale before either had replaced it.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_loopsafe._ledger.records import Batch
from pytest_loopsafe._ledger.rivals import Rivalry, rivalry
from pytest_loopsafe._probes.clients import ResourceProbe
from pytest_loopsafe._probes.connections import ConnectionProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe
from pytest_loopsafe._rules.base import Detector, PassEnded, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack

RACE = Rule(
    "LS203",
    "rebind-race",
    Severity.ERROR,
    "concurrent first use in a new loop built more than one instance",
    "Guard the rebuild with one in-flight future per loop: the first caller makes it, the others "
    "await the same one (pytest_loopsafe.recipes.LoopLocal does). A check and a replacement with "
    "an await between them is a race.",
)


class RebindRace(Detector):
    """LS203."""

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
