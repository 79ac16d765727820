"""LS202: a resource was replaced, and its predecessor was never closed.

Evidence: a connection was open when its loop ended, and a slot held it; at a later rest it is gone
from there, unclosed, and a connection of a later loop has the same slot or was made by one of those
who held it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from pytest_loopsafe._ledger.records import Record
from pytest_loopsafe._probes.connections import ConnectionProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe
from pytest_loopsafe._rules.base import Detector, PassEnded, loop_births
from pytest_loopsafe._words.descriptors import identity_of
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack

LEAK = Rule(
    "LS202",
    "rebind-leak",
    Severity.ERROR,
    "a resource was replaced, and its predecessor was never closed",
    "Close the predecessor in its own loop, before that ends; the new loop cannot (close() and "
    "even abort() need the loop that is gone). Where there is no such moment, make the client "
    "inside the function given to asyncio.run() with `async with`, or keep one for each loop with "
    "pytest_loopsafe.recipes.LoopLocal, which closes it when its loop ends.",
)


class RebindLeak(Detector):
    """LS202."""

    rules = (LEAK,)
    probes = (ConnectionProbe(), LifeProbe())
    judges = (PassEnded,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report each connection that another has taken the place of."""
        for fate in self.ledger.fates:
            if fate.successor is not None:
                yield self._leaked(fate.record, fate.successor)

    @staticmethod
    def _leaked(record: Record, successor: Record) -> Observation:
        slot, now, before = record.slot, successor.loop, record.loop
        assert slot is not None
        if record.descriptor is not None and _still_open(record.descriptor):
            number = record.descriptor[0]
            proof = f"the operating system still has it open (descriptor {number})"
        else:
            proof = "only the collector ended it"
        return Observation(
            Finding(
                LEAK,
                f"{slot.root} got a new connection in {now}, and its predecessor, {record.name} of "
                f"{before}, was never closed: {proof}",
                now,
                before,
                (
                    Stack(f"the new one was made in {now}", successor.made),
                    Stack(f"its predecessor was made in {before}", record.made),
                    *loop_births(before, now),
                ),
                LEAK.remedy,
                home_state="closed",
                owner=slot.path,
            ),
            identity=slot.root,
        )


def _still_open(descriptor: tuple[int, Hashable]) -> bool:
    number, identity = descriptor
    return identity_of(number) == identity
