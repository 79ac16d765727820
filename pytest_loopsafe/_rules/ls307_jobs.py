"""LS307: a job of ``run_in_executor()`` that a pool's thread works on beyond the end of its run.

Nothing stops a thread. Evidence: the job is not done when its loop is closed by hand (a loop that
``asyncio.run()`` ends has waited for its default executor) and somebody awaits it, has given it up,
or it is in the loop's own default executor; or its waiter has given it up (``wait_for``) and the
loop went on to another run. Told is

- an error where the same function was given to a pool by a later run while the job was undone;
- else a warning: what awaited the job has lost its result, or a later run began beside it.

A job in a pool of the user's own that nobody awaits is to outlive its loop, and so is one of a loop
that stays open: neither is told.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import CodeType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.executors import ExecutorProbe, JobGiven
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopClosing, LoopRan
from pytest_loopsafe._rules.base import Detector, PassEnded, RunEnded, loop_births
from pytest_loopsafe._rules.ls307 import OUTLIVES
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Severity
from pytest_loopsafe._words.stacks import Frame, Stack, is_library, stack_here

_REMEDY = (
    "Await the job before its loop ends, or `loop.run_until_complete("
    "loop.shutdown_default_executor())` before `loop.close()`; asyncio.run() does that by itself. "
    "A thread cannot be stopped: what gives it a timeout has to tell the function when to end."
)
_MAX_JOBS = 1_000


class _Job:
    """A job, by weak references."""

    def __init__(self, given: JobGiven, info: LoopInfo, run: int) -> None:
        self.job = weakref.ref(given.job)
        self.future = weakref.ref(given.future)
        self.code: CodeType | None = given.code
        self.by_default = given.by_default
        self.info = info
        self.run = run
        self.frames = stack_here()
        self.outlives = self.is_missed = False
        self.again: tuple[Frame, ...] = ()
        self.later: LoopInfo | None = None

    @property
    def is_undone(self) -> bool:
        """Whether the pool has still to do it, or is at it."""
        job = self.job()
        return job is not None and not job.done()

    @property
    def is_given_up(self) -> bool:
        """Whether who awaited it does so no more."""
        future = self.future()
        return future is not None and future.cancelled()


class JobOutlivesRun(Detector):
    """LS307 for the jobs of executors."""

    rules = (OUTLIVES,)
    probes = (ExecutorProbe(), LifeProbe())
    judges = (JobGiven, LoopClosing, LoopRan, PassEnded, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._jobs: list[_Job] = []
        self._runs: dict[int, int] = {}  # of each loop, how many it has had

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what is not done in time, and what begins meanwhile; report at rest."""
        if isinstance(sighting, JobGiven):
            self._given(sighting)
        elif isinstance(sighting, LoopClosing):
            self._closing(self.loops.of(sighting.loop))
        elif isinstance(sighting, LoopRan):
            by_user = not is_library(sighting.code.co_filename)
            self._begins(self.loops.of(sighting.loop), by_user=by_user)
        else:
            yield from self._judge(last=isinstance(sighting, RunEnded))

    def _given(self, sighting: JobGiven) -> None:
        info = self.loops.of(sighting.loop)
        run = self._runs.get(info.number, 0)
        if len(self._jobs) >= _MAX_JOBS:
            self._jobs = [one for one in self._jobs if one.is_undone][-_MAX_JOBS // 2 :]
        for one in self._jobs:
            if one.code is None or one.code is not sighting.code or not one.is_undone:
                continue
            other_run = one.info is not info or one.run != run
            if one.outlives or (one.by_default and one.is_given_up and other_run):
                one.again = one.again or stack_here()
        self._jobs.append(_Job(sighting, info, run))

    def _closing(self, info: LoopInfo) -> None:
        for one in self._jobs:
            if one.info is info and one.is_undone:
                future = one.future()
                one.is_missed = future is not None and _cpython.awaiter_of(future) is not None
                one.outlives = one.is_missed or one.is_given_up or one.by_default

    def _begins(self, info: LoopInfo, *, by_user: bool) -> None:
        self._runs[info.number] = self._runs.get(info.number, 0) + 1
        for one in self._jobs if by_user else ():
            if one.outlives and one.later is None and one.is_undone:
                one.later = info

    def _judge(self, *, last: bool) -> Iterator[Observation]:
        known, self._jobs = self._jobs, []
        for one in known:
            if one.is_undone and not one.again and not last:
                self._jobs.append(one)
            elif one.again or one.is_missed or one.later is not None:
                yield self._found(one)

    def _found(self, one: _Job) -> Observation:
        name = f"{one.code.co_qualname}()" if one.code is not None else "a job"
        ended = f"{one.info} was closed" if one.outlives else f"a run of {one.info} ended"
        stacks = [Stack("it was given to the pool here", one.frames)]
        if one.again:
            what = "the same was given to a pool again beside it"
            stacks.append(Stack("it was given again here", one.again))
        elif one.is_missed:
            what = "its result is lost: what awaited it never went on"
        else:
            what = f"it went on beside {one.later}"
        return Observation(
            Finding(
                OUTLIVES,
                f"{name} was still at work in a thread when {ended}, and {what}",
                one.later,
                one.info,
                (*stacks, *loop_births(one.info)),
                _REMEDY,
            ),
            users=(),
            severity=Severity.ERROR if one.again else Severity.WARNING,
        )
