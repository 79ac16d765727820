"""LS303: a transport, server or socket was left open at its loop's end.

Evidence: it was open when its loop was about to close, and at rest nobody holds it; or somebody
held it, has let it go since, and nothing has its place. Also one that only a finalizer closed in
time, and one whose ``close()`` had still to send something when its loop ended. Not a server that
is gone while the code has its listening socket, which it gave to the loop (``sock=``), open: it
goes on in the next run.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_loopsafe._ledger.records import Record
from pytest_loopsafe._probes.connections import ConnectionFinalized, ConnectionProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe
from pytest_loopsafe._rules.base import Detector, PassEnded, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack

LEFT_OPEN = Rule(
    "LS303",
    "transport-left-open",
    Severity.WARNING,
    "a transport, server or socket was left open at its loop's end",
    "Close it before its loop ends: `async with` within the function given to asyncio.run().",
)

_WAIT = "Wait until it is sent, before the loop ends: `await writer.wait_closed()` after `close()`."


class TransportLeftOpen(Detector):
    """LS303."""

    rules = (LEFT_OPEN,)
    probes = (ConnectionProbe(), LifeProbe())
    judges = (ConnectionFinalized, PassEnded)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report what was left, at rest; and what a finalizer closed in time, at once."""
        if isinstance(sighting, PassEnded):
            for fate in self.ledger.fates:
                if fate.successor is None and not fate.record.is_lent:
                    record = fate.record
                    yield self._left(record, f"{record.name} was still open when its loop ended")
            for record in self.ledger.cut_off:
                how = f"{record.name} had {record.unsent:,} bytes still to send when its loop ended"
                yield self._left(record, f"{how}, and was closed without waiting for that", _WAIT)
        elif isinstance(sighting, ConnectionFinalized):
            found = self.ledger.of(sighting.thing)
            is_met = sighting.loop.is_closed()  # by its own refusal
            if not is_met and found is not None and found.slot is None:
                how = f"{found.name} was dropped without being closed; only its finalizer closed it"
                yield self._left(found, how)

    @staticmethod
    def _left(record: Record, how: str, remedy: str = LEFT_OPEN.remedy) -> Observation:
        made = Stack(f"it was made in {record.loop}", record.made)
        return Observation(
            Finding(
                LEFT_OPEN,
                how.replace("its loop", str(record.loop)),
                record.loop,
                None,
                (made, *loop_births(record.loop)),
                remedy,
                owner=record.slot.path if record.slot is not None else None,
            )
        )
