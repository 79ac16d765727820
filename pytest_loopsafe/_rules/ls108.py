"""LS108: a future of another loop was given to ``asyncio.wait``, which then never completes.

``gather``, ``shield`` and ``wait_for`` end in an await of a foreign future or in a ValueError,
and are LS101's. Only ``asyncio.wait`` accepts anything: it registers a callback that the other
loop would have to run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._rules.base import Detector, home_advice, loop_births, where_made
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import state_of
from pytest_loopsafe._words.naming import name_future, name_loop
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, stack_here

RULE = Rule(
    "LS108",
    "foreign-wait",
    Severity.ERROR,
    "asyncio.wait() was given a future of another loop",
    "Give asyncio.wait() only futures of the loop that waits.",
)


@dataclass(frozen=True)
class ForeignWait(Sighting):
    """A future of `home` is being waited for in `loop`."""

    future: Any
    loop: asyncio.AbstractEventLoop
    home: asyncio.AbstractEventLoop


class WaitProbe:
    """Sees what ``asyncio.wait`` is given."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the function that registers the callbacks."""

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def _wait(fs: Any, timeout: Any, return_when: Any, loop: Any) -> Any:
                for future in fs:
                    home = _cpython.future_loop(future)
                    if home is not None and home is not loop:
                        emit(ForeignWait(future, loop, home))
                return original(fs, timeout, return_when, loop)

            return _wait

        patches.replace(*_cpython.WAIT, build)


class ForeignWaits(Detector):
    """LS108."""

    rules = (RULE,)
    probes = (WaitProbe(),)
    judges = (ForeignWait,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report the call; nothing is raised, so nothing can be swallowed."""
        assert isinstance(sighting, ForeignWait)
        loop, home = self.loops.of(sighting.loop), self.loops.of(sighting.home)
        state = state_of(sighting.home)
        yield Observation(
            Finding(
                RULE,
                f"asyncio.wait() in {loop} was given {name_future(sighting.future)} of "
                f"{name_loop(home, state)}: its completion can never reach {loop}",
                loop,
                home,
                (
                    Stack(f"waited for in {loop}", stack_here()),
                    *where_made(sighting.future, "the future was made"),
                    *loop_births(home, loop),
                ),
                home_advice(sighting.home),
                home_state=state,
            ),
            about=(sighting.future,),
        )
