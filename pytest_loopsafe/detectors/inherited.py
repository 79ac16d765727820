"""LS401 and LS402: what was made in the parent is used in a forked child.

A fork copies objects, and shares what the operating system keeps: an inherited loop has the
parent's selector, and an inherited connection the parent's socket, from which both now read. No
selector tells a child that it is not alone with it, so nothing is raised.

The same hazards within one process have rules of their own. What comes from the parent is told by
one name, however it shows, since the remedy is another: make it after the fork.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from pytest_loopsafe.detectors.base import Detector, loop_births
from pytest_loopsafe.findings import Finding, Observation
from pytest_loopsafe.instrumentation import Sighting
from pytest_loopsafe.loop_lives import LifeProbe, LoopRan
from pytest_loopsafe.loops import state_of
from pytest_loopsafe.rules import Rule, Severity
from pytest_loopsafe.stacks import Stack, stack_here

INHERITED_LOOP = Rule(
    "LS401",
    "fork-inherited-loop",
    Severity.ERROR,
    "a forked child ran, scheduled on or awaited through a loop made in its parent",
    "Make it after the fork: inside the task, or in worker_process_init (Celery), "
    "post_fork (gunicorn), os.register_at_fork(after_in_child=...). Parent and child would share "
    "one selector.",
)
SHARED_CONNECTION = Rule(
    "LS402",
    "fork-shared-connection",
    Severity.ERROR,
    "a connection opened in the parent was used in a forked child",
    "Open it after the fork: inside the task, or in worker_process_init (Celery), post_fork "
    "(gunicorn), os.register_at_fork(after_in_child=...). Two processes that use one socket read "
    "each other's answers.",
)

_IN_ONE_PROCESS = frozenset({"LS101", "LS102", "LS103", "LS104", "LS105", "LS108"})


class InheritedLoop(Detector):
    """LS401 for a loop that is run; the other ways to use one are `as_inherited`."""

    rules = (INHERITED_LOOP, SHARED_CONNECTION)
    probes = (LifeProbe(),)
    judges = (LoopRan,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report a loop of the parent's that is run here."""
        assert isinstance(sighting, LoopRan)
        home = self.loops.of(sighting.loop)
        if not home.inherited or sighting.loop.is_closed():
            return
        state = state_of(sighting.loop)
        yield Observation(
            Finding(
                INHERITED_LOOP,
                f"{home} ({state}), made in process {home.pid}, was run in a forked child",
                None,
                home,
                (Stack("run in the child", stack_here()), *loop_births(home)),
                INHERITED_LOOP.remedy,
                home_state=state,
            ),
            about=(sighting.loop,),
        )


def as_inherited(observation: Observation) -> Observation | None:
    """An observation about something of the parent's, under the rule that is meant for it.

    None where the hazard is none in a child: a lock that the parent used without a waiter is not
    bound, and the child has a copy of its own.
    """
    finding = observation.finding
    home = finding.home_loop
    if home is None or not home.inherited:
        return observation
    if finding.code == "LS107":
        return None
    if finding.code not in _IN_ONE_PROCESS:
        return observation
    shared = any(
        isinstance(one, asyncio.BaseTransport | asyncio.StreamWriter | asyncio.StreamReader)
        for one in observation.about
    )
    rule = SHARED_CONNECTION if shared else INHERITED_LOOP
    return replace(
        observation,
        finding=replace(
            finding,
            rule=rule,
            message=f"{finding.message}, which was made in the parent process {home.pid}",
            remedy=rule.remedy,
        ),
    )
