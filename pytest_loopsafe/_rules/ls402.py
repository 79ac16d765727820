"""LS402: a connection opened in the parent was used in a forked child.

Both processes read from one socket, and no selector tells a child that it is not alone with it,
so nothing is raised. Evidence: the connection's loop was there when the child began, and the
connection is driven in the child. To close what was inherited is how a child lets go of it, and
no use of it.

A driver may have a socket of its own, and give the loop nothing but its number. Then the evidence
is the kernel's: when the child began, this process had opened the connection (and not accepted it)
and talked over it, to and fro, or a loop of the parent's waited for it; and the child sends,
receives, waits or shuts it down. Of a path, whose traffic nobody counts, only what takes something
out of it. Not datagrams, which are whole each, and no pairs, which are made to be shared.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.connections import WRITES, ConnectionDriven, ConnectionProbe
from pytest_loopsafe._probes.inherited import ConnectionShared, InheritanceProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._rules.base import Detector, loop_births
from pytest_loopsafe._words.finalizers import in_finalizer
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo, state_of
from pytest_loopsafe._words.naming import name_loop, name_thing
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, live_frames, stack_here

SHARED_CONNECTION = Rule(
    "LS402",
    "fork-shared-connection",
    Severity.ERROR,
    "a connection opened in the parent was used in a forked child",
    "Open it after the fork: inside the task, or in worker_process_init (Celery), post_fork "
    "(gunicorn), os.register_at_fork(after_in_child=...). Two processes that use one socket read "
    "each other's answers.",
)


class SharedConnection(Detector):
    """LS402."""

    rules = (SHARED_CONNECTION,)
    probes = (ConnectionProbe(), InheritanceProbe())
    judges = (ConnectionDriven, ConnectionShared)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report a connection of the parent's that is driven here."""
        if isinstance(sighting, ConnectionShared):
            if not in_finalizer(live_frames()):
                yield self._shared(sighting)
            return
        assert isinstance(sighting, ConnectionDriven)
        home = self.loops.of(sighting.loop)
        if home.inherited and not _is_others(sighting) and not in_finalizer(live_frames()):
            yield self._driven(sighting, home)

    def _shared(self, sighting: ConnectionShared) -> Observation:
        running = _cpython.get_running_loop()
        loop = self.loops.of(running) if running is not None else None
        home = self.loops.of(sighting.loop) if sighting.loop is not None else None
        state = state_of(sighting.loop) if sighting.loop is not None else None
        use = "a wait" if sighting.method == "a wait" else f"{sighting.method}()"
        whose = f"and {name_loop(home, state)} waits for it" if home else "and had talked over"
        return Observation(
            Finding(
                SHARED_CONNECTION,
                f"a forked child used a connection to {sighting.peer} ({use}) that its parent had "
                f"opened, {whose}",
                loop,
                home,
                (Stack("used in the child", stack_here()), *loop_births(home, loop)),
                SHARED_CONNECTION.remedy,
                home_state=state,
            ),
            about=(sighting.thing,) if sighting.thing is not None else (),
        )

    def _driven(self, sighting: ConnectionDriven, home: LoopInfo) -> Observation:
        loop = self.loops.of(sighting.running) if sighting.running is not None else None
        state = state_of(sighting.loop)
        where = f", in {name_loop(loop)}," if loop is not None else ""
        return Observation(
            Finding(
                SHARED_CONNECTION,
                f"{sighting.method}() was called in a forked child{where} on "
                f"{name_thing(sighting.thing)} of {name_loop(home, state)}, made in process "
                f"{home.pid}",
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
