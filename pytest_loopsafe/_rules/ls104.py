"""LS104: a transport or stream was driven from a running loop that does not own it.

asyncio does not object: the bytes are sent at once if they fit into the socket's buffer, and what
was received before can be read. Under load they do not fit, and then the loop that should send the
rest is not the one that runs. A closed loop's transport is LS103's.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_loopsafe._probes.connections import ConnectionDriven, ConnectionProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._rules.base import Detector, home_advice, loop_births
from pytest_loopsafe._words.finalizers import in_finalizer
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import state_of
from pytest_loopsafe._words.naming import name_loop, name_thing
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, live_frames, stack_here

RULE = Rule(
    "LS104",
    "foreign-transport",
    Severity.ERROR,
    "a transport or stream was driven from a loop that does not own it",
    "Open the connection in the loop that uses it.",
)


class ForeignTransport(Detector):
    """LS104."""

    rules = (RULE,)
    probes = (ConnectionProbe(),)
    judges = (ConnectionDriven,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report the call; nothing was raised, so nothing can be swallowed."""
        assert isinstance(sighting, ConnectionDriven)
        if sighting.running is None:
            return  # from sync code: another thread's is LS105
        closed = sighting.loop.is_closed()
        if closed and sighting.method != "read":
            return  # LS103
        if in_finalizer(live_frames()):
            return
        loop, home = self.loops.of(sighting.running), self.loops.of(sighting.loop)
        state = state_of(sighting.loop)
        yield Observation(
            Finding(
                RULE,
                f"{sighting.method}() was called in {loop} on {name_thing(sighting.thing)} of "
                f"{name_loop(home, state)}, and asyncio said nothing",
                loop,
                home,
                (Stack(f"driven in {loop}", stack_here()), *loop_births(home, loop)),
                home_advice(sighting.loop),
                home_state=state,
            ),
            about=(sighting.thing,),
        )
