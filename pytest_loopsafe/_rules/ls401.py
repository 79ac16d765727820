"""LS401 and LS402: what was made in the parent is used in a forked child.

A fork copies objects, and shares what the operating system keeps: an inherited loop has the
parent's selector, and an inherited connection the parent's socket, from which both now read. No
selector tells a child that it is not alone with it, so nothing is raised.

The same hazards within one process have rules of their own. What comes from the parent is told by
one name, however it shows, since the remedy is another: make it after the fork.

To close what was inherited is how a child lets go of it, and no use of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from pytest_loopsafe._probes.connections import WRITES, ConnectionDriven, ConnectionProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopRan
from pytest_loopsafe._rules.base import Detector, loop_births, name_loop, name_thing
from pytest_loopsafe._rules.ls105 import HandedOver, HandOverProbe
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo, state_of
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, in_finalizer, live_frames, stack_here

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
_LEFT_BEHIND = ("LS107", "LS2", "LS3")
"""What the parent is to be told of, if anybody: the child has copies, and leaves them alone."""

_CLOSES = frozenset({"close", "abort", "_force_close", "_abort"})


class Inherited(Detector):
    """LS401 for a loop that is run, LS402 for what is driven; the rest is `as_inherited`."""

    rules = (INHERITED_LOOP, SHARED_CONNECTION)
    probes = (LifeProbe(), ConnectionProbe(), HandOverProbe())
    judges = (LoopRan, ConnectionDriven, HandedOver)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report a loop of the parent's that is run here, or its connection that is driven."""
        if isinstance(sighting, ConnectionDriven):
            home = self.loops.of(sighting.loop)
            if home.inherited and not _is_others(sighting) and not in_finalizer(live_frames()):
                yield self._driven(sighting, home)
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

    def _driven(self, sighting: ConnectionDriven, home: LoopInfo) -> Observation:
        loop = self.loops.of(sighting.running) if sighting.running is not None else None
        state = state_of(sighting.loop)
        return Observation(
            Finding(
                SHARED_CONNECTION,
                f"{sighting.method}() was called in {name_loop(loop)} on "
                f"{name_thing(sighting.thing)} of {name_loop(home, state)} (made in the parent "
                f"process, {home.pid})",
                loop,
                home,
                (Stack("used in the child", stack_here()), *loop_births(home, loop)),
                SHARED_CONNECTION.remedy,
                home_state=state,
            ),
            about=(sighting.thing,),
        )


def _is_others(sighting: ConnectionDriven) -> bool:
    """Whether LS104 sees it too, as something within one process, and is renamed."""
    if sighting.running is None:
        return False
    return not sighting.loop.is_closed() or sighting.method not in WRITES


def as_inherited(observation: Observation) -> Observation | None:
    """An observation about something of the parent's, under the rule that is meant for it.

    None where the hazard is none in a child: a lock that the parent used without a waiter is not
    bound, and the child has a copy of its own; nor has it to clean up after its parent.
    """
    finding = observation.finding
    home = finding.home_loop or finding.loop
    if home is None or not home.inherited:
        return observation
    if finding.code.startswith(_LEFT_BEHIND):
        return None
    if finding.code not in _IN_ONE_PROCESS:
        return observation
    if finding.code in ("LS103", "LS105") and _only_closes(finding):
        return None
    shared = _waits_for_data(finding) or any(
        isinstance(one, asyncio.BaseTransport | asyncio.StreamWriter | asyncio.StreamReader)
        for one in observation.about
    )
    rule = SHARED_CONNECTION if shared else INHERITED_LOOP
    return replace(
        observation,
        finding=replace(
            finding,
            rule=rule,
            message=f"{finding.message} (made in the parent process, {home.pid})",
            remedy=rule.remedy,
        ),
    )


def _waits_for_data(finding: Finding) -> bool:
    """Whether what was awaited is a stream's own future: it waits to read, or to write on."""
    stack = finding.stacks[0].frames if finding.stacks else ()
    return any(
        frame.library and frame.function in ("StreamReader._wait_for_data", "StreamWriter.drain")
        for frame in stack
    )


def _only_closes(finding: Finding) -> bool:
    """Whether the parent's loop was called by a transport that was closed."""
    stack = finding.stacks[0].frames if finding.stacks else ()
    return any(
        frame.library
        and frame.file.rpartition("/")[2].endswith(("_events.py", "sslproto.py"))
        and frame.function.rpartition(".")[2] in _CLOSES
        and "Loop." not in frame.function
        for frame in stack
    )
