"""LS205: a resource was rebuilt more than once within one loop.

Evidence: at least three clients were made in one loop by the same line, one after the other; at
rest the last has a slot, and the others were not lost in a race.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_loopsafe._ledger.rivals import rivalry
from pytest_loopsafe._probes.clients import ResourceProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe
from pytest_loopsafe._rules.base import Detector, PassEnded, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack

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


class RebindChurn(Detector):
    """LS205."""

    rules = (CHURN,)
    probes = (ResourceProbe(), LifeProbe())
    judges = (PassEnded,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report each batch that was built for one slot, one after the other."""
        for batch in reversed(self.ledger.ended):
            if batch.of_connections or batch.built <= _RECONNECTED:
                continue
            found = rivalry(batch, self.graph)
            if found is None or found.winner.closed or (batch.overlapped and found.lost):
                continue
            other = next((one for one in batch.records if one is not found.winner), found.winner)
            yield Observation(
                Finding(
                    CHURN,
                    f"{batch.built} {batch.kind} were built one after the other in {batch.loop} "
                    f"for {found.place}",
                    batch.loop,
                    None,
                    (
                        Stack("the one that is held was built here", found.winner.made),
                        Stack("another was built here", other.made),
                        *loop_births(batch.loop),
                    ),
                    CHURN.remedy,
                    owner=found.path,
                )
            )
