"""LS401: a forked child ran, scheduled on or awaited through a loop made in its parent.

A fork copies objects, and shares what the operating system keeps: an inherited loop has the
parent's selector. Evidence: the loop was there when the child began, and it was run or given work
in the child. What is seen under a rule for one process (LS101, LS102, ...) is told under this one
by `pytest_loopsafe._rules.inherited`.

So is a pool of threads, which a loop gives its work to: none of its threads came along, and it
makes no new one as long as it believes that an inherited one is idle. Evidence: it has taken work,
and has threads of which none is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.executors import ExecutorProbe, JobStranded
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopRan
from pytest_loopsafe._rules.base import Detector, loop_births
from pytest_loopsafe._rules.ls105 import HandedOver, HandOverProbe
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import state_of
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, stack_here

INHERITED_LOOP = Rule(
    "LS401",
    "fork-inherited-loop",
    Severity.ERROR,
    "a forked child ran, scheduled on or awaited through a loop made in its parent",
    "Make it after the fork: inside the task, or in worker_process_init (Celery), "
    "post_fork (gunicorn), os.register_at_fork(after_in_child=...). Parent and child would share "
    "one selector.",
)


class InheritedLoop(Detector):
    """LS401 for a loop, or a pool of threads, that is run or given work."""

    rules = (INHERITED_LOOP,)
    probes = (LifeProbe(), HandOverProbe(), ExecutorProbe())
    judges = (LoopRan, HandedOver, JobStranded)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report a loop or a pool of the parent's that is used here."""
        if isinstance(sighting, JobStranded):
            yield self._stranded(sighting)
            return
        assert isinstance(sighting, LoopRan | HandedOver)
        home = self.loops.of(sighting.loop)
        if not home.inherited or sighting.loop.is_closed():
            return
        state = state_of(sighting.loop)
        done = "was run in" if isinstance(sighting, LoopRan) else "was handed a coroutine by"
        yield Observation(
            Finding(
                INHERITED_LOOP,
                f"{home} ({state}), made in process {home.pid}, {done} a forked child",
                None,
                home,
                (Stack("used in the child", stack_here()), *loop_births(home)),
                INHERITED_LOOP.remedy,
                home_state=state,
            ),
            about=(sighting.loop,),
        )

    def _stranded(self, sighting: JobStranded) -> Observation:
        running = _cpython.get_running_loop()
        return Observation(
            Finding(
                INHERITED_LOOP,
                "a forked child gave work to a thread pool of its parent's: the pool's threads did "
                "not come along, and nobody does the work",
                self.loops.of(running) if running is not None else None,
                None,
                (Stack("used in the child", stack_here()),),
                INHERITED_LOOP.remedy.partition(" Parent and child")[0],
            ),
            about=(sighting.pool,),
        )
