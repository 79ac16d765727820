"""LS304: a loop was created and never closed.

Evidence: the user's own code made the loop, nobody closed it, and at the end of the run it does not
run. Judged at the end of the run, for a loop may serve several passes. One that was made before the
first pass (in a worker's child, by ``worker_process_init``) serves for as long as the process does,
which goes on after the run. One that a fixture made is judged once the fixture has ended. Nor is
one reported that the user's globals still hold, where it is a thread's own or the only one that was
left where it was made: made once, kept and used again. Where each call leaves another, all are
reported, wherever they are held.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator

from pytest_loopsafe._graph.kinds import is_a
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe
from pytest_loopsafe._rules.base import Detector, RunEnded
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, is_stdlib

LEFT_OPEN = Rule(
    "LS304",
    "loop-left-open",
    Severity.WARNING,
    "a loop was created and never closed",
    "Let asyncio.run() or asyncio.Runner make the loop: they close it. A loop made by hand needs "
    "`try: ... finally: loop.close()`.",
)


class LoopLeftOpen(Detector):
    """LS304."""

    rules = (LEFT_OPEN,)
    probes = (LifeProbe(),)
    judges = (RunEnded,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report the loops that nobody closed."""
        alive = {self.loops.of(loop): loop for loop in self.loops.alive()}
        makers = {
            info: maker
            for info in self.loops.open_until_now()
            if not (self.loops.is_closed(info) or self.loops.lasts(info))
            and not (info in alive and alive[info].is_running())
            and info.pass_number != 0
            and (maker := _made_by_user(info)) is not None
        }
        left = Counter(makers.values())
        for info, maker in makers.items():
            if info not in alive or not self._is_kept(alive[info], alone=left[maker] == 1):
                yield Observation(
                    Finding(
                        LEFT_OPEN,
                        f"{info} was created and never closed",
                        info,
                        None,
                        (Stack(f"{info} was created here", info.created),),
                        LEFT_OPEN.remedy,
                    )
                )

    def _is_kept(self, loop: asyncio.AbstractEventLoop, *, alone: bool) -> bool:
        """Whether the user's globals hold it; asyncio's own current loop is nobody's."""
        return any(
            owner.own
            and not owner.hidden
            and (alone or any(is_a(one, threading.local) for one in owner.chain))
            for owner in self.graph.owners(loop)
        )


def _made_by_user(info: LoopInfo) -> Frame | None:
    """Where the user's own code made the loop; None where a library did that it called."""
    package = info.kind.partition(".")[0]  # asyncio's, or uvloop's, which makes its own
    for frame in reversed(info.created):
        if not frame.library:
            return frame
        if not is_stdlib(frame.file) and package not in frame.file:
            return None
    return None
