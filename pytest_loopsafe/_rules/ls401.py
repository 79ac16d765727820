"""LS401: a forked child ran, scheduled on or awaited through a loop made in its parent.

A fork copies objects, and shares what the operating system keeps: an inherited loop has the
parent's selector. Evidence: the loop was there when the child began, and it was run or given work
in the child. What is seen under a rule for one process (LS101, LS102, ...) is told under this one
by `pytest_loopsafe._rules.inherited`.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    """LS401 for a loop that is run or given work."""

    rules = (INHERITED_LOOP,)
    probes = (LifeProbe(), HandOverProbe())
    judges = (LoopRan, HandedOver)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report a loop of the parent's that is used here."""
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
