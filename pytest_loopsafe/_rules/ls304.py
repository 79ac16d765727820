"""LS304: a loop was created and never closed.

Evidence: the user's own code made the loop, nobody closed it, and at the end of the run it does not
run. Judged at the end of the run, for a loop may serve several passes. One that was made before the
first pass (in a worker's child, by ``worker_process_init``) serves for as long as the process does,
which goes on after the run. One that a fixture made is judged once the fixture has ended; one of a
thread that is within ``asyncio.run()`` now, before or after its loop runs, once it is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from pytest_loopsafe._graph.threads import threads_within
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe
from pytest_loopsafe._rules.base import Detector, RunEnded
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, is_stdlib

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
        running = {self.loops.of(loop) for loop in self.loops.alive() if loop.is_running()}
        at_it = threads_within(_RUNNERS)
        self.waits = False
        for info in self.loops.open_until_now():
            if self.loops.is_closed(info) or info in running or info.pass_number == 0:
                continue
            if not _made_by_user(info):
                continue
            if self.loops.lasts(info) or (info.thread in at_it and _made_by_runner(info)):
                self.waits = True  # a fixture, or asyncio.run(), may close what it made
            else:
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


_RUNNERS = asyncio.runners.__file__


def _made_by_runner(info: LoopInfo) -> bool:
    """Whether ``asyncio.run()`` or a ``Runner`` made the loop, which will close it."""
    return any(frame.file == _RUNNERS for frame in info.created)


def _made_by_user(info: LoopInfo) -> bool:
    """Whether the user's own code made the loop, and not a library that it called."""
    package = info.kind.partition(".")[0]  # asyncio's, or uvloop's, which makes its own
    for frame in reversed(info.created):
        if not frame.library:
            return True
        if not is_stdlib(frame.file) and package not in frame.file:
            return False
    return False
