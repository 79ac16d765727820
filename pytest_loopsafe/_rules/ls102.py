"""LS102: a Lock, Event, Condition, Semaphore, Queue or Barrier of another loop was used.

Its evidence is either of two. asyncio refused: a task had to wait for a primitive that is bound to
another loop. Or it said nothing, since nobody had to wait this time, but a task could have had to:
`pytest_loopsafe._rules.ls107` says what shows that. A lock that was bound where it was contended,
and is taken around plain statements elsewhere, can never be refused there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.primitives import BindingProbe, PrimitiveRefused, UseProbe
from pytest_loopsafe._probes.scheduling import SchedulingProbe
from pytest_loopsafe._probes.uses import CouldWait
from pytest_loopsafe._rules.base import Detector, loop_births
from pytest_loopsafe._rules.uses import ByPrimitive, frames_of, users_of_use
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo, state_of
from pytest_loopsafe._words.naming import a, name_loop, name_primitive
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, live_frames, stack_here
from pytest_loopsafe._words.ways import Way, way_here

RULE = Rule(
    "LS102",
    "foreign-primitive",
    Severity.ERROR,
    "a primitive bound to another loop was used",
    "Make it inside the loop that uses it, or keep one for each loop: LoopLocal(asyncio.Lock) of "
    "pytest_loopsafe.recipes does.",
)


class ForeignPrimitives(Detector):
    """LS102; it also notes where a primitive binds, to say so later."""

    rules = (RULE,)
    probes = (BindingProbe(), UseProbe(), SchedulingProbe())
    judges = (PrimitiveRefused, CouldWait)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._bound: ByPrimitive[list[tuple[Frame, ...]]] = ByPrimitive(list)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report a refusal, and the use of what is bound elsewhere."""
        if isinstance(sighting, PrimitiveRefused):
            running, error = sighting.loop, sighting.error
            stack = stack_here()
            yield self._found(
                sighting.primitive,
                running,
                sighting.home,
                stack,
                error,
                way_here(live_frames(), type(error)),
            )
        elif isinstance(sighting, CouldWait):
            home = _cpython.bound_loop(sighting.primitive)
            if home is None and sighting.waits:
                self._bound.of(sighting.primitive)[:] = [stack_here()]
            elif (
                home is not None
                and home is not sighting.loop
                and not sighting.waits
                and not sighting.asked
                and sighting.under is None
            ):
                yield self._found(
                    sighting.primitive,
                    sighting.loop,
                    home,
                    frames_of(sighting),
                    users=users_of_use(sighting),
                )

    def _found(
        self,
        primitive: Any,
        running: asyncio.AbstractEventLoop | None,
        home_loop: Any,
        here: tuple[Frame, ...],
        error: BaseException | None = None,
        way: Way | None = None,
        users: tuple[Any, ...] | None = None,
    ) -> Observation:
        loop: LoopInfo | None = self.loops.of(running) if running is not None else None
        home, state = self.loops.of(home_loop), state_of(home_loop)
        quietly = "" if error else "; nobody had to wait, so asyncio said nothing"
        return Observation(
            Finding(
                RULE,
                f"{a(name_primitive(primitive))} bound to {name_loop(home, state)} was used in "
                f"{name_loop(loop)}{quietly}",
                loop,
                home,
                (
                    Stack(f"used in {name_loop(loop)}", here),
                    *(Stack(f"bound to {home} here", one) for one in self._bound.of(primitive)),
                    *loop_births(home, loop),
                ),
                RULE.remedy,
                home_state=state,
            ),
            error,
            way,
            about=(primitive,),
            users=users,
            expectable=True,
        )
