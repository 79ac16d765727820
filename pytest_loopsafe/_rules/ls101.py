"""LS101: a task awaited a future or task of another loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._probes.scheduling import ForeignAwait, SchedulingProbe
from pytest_loopsafe._rules.base import Detector, home_advice, loop_births, where_made
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import state_of
from pytest_loopsafe._words.naming import name_coroutine, name_future, name_loop
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, live_frames, stack_here, users_of
from pytest_loopsafe._words.ways import way_here

RULE = Rule(
    "LS101",
    "cross-loop-await",
    Severity.ERROR,
    "a task awaited a future of another loop",
    "Make what the future belongs to inside the loop that awaits it.",
)


class EnsureFutureProbe:
    """Sees the ValueError of ``ensure_future``, ``gather`` and ``run_until_complete``."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the one function that raises it."""

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def ensure_future(coro_or_future: Any, *, loop: Any = None) -> Any:
                __tracebackhide__ = True
                if loop is None or not asyncio.isfuture(coro_or_future):
                    return original(coro_or_future, loop=loop)
                home = _cpython.future_loop(coro_or_future)
                if home is None or home is loop:
                    return original(coro_or_future, loop=loop)
                try:
                    return original(coro_or_future, loop=loop)
                except ValueError as error:
                    frames = stack_here()
                    emit(
                        ForeignAwait(
                            None,
                            coro_or_future,
                            loop,
                            home,
                            error,
                            frames,
                            way_here(live_frames(), type(error)),
                        )
                    )
                    raise

            return ensure_future

        for owner, name in _cpython.ENSURE_FUTURE:
            patches.replace(owner, name, build)


class CrossLoopAwait(Detector):
    """LS101."""

    rules = (RULE,)
    probes = (SchedulingProbe(), EnsureFutureProbe())
    judges = (ForeignAwait,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report the await with the frames down to it."""
        assert isinstance(sighting, ForeignAwait)
        loop, home = self.loops.of(sighting.loop), self.loops.of(sighting.home)
        state = state_of(sighting.home)
        subject, inner = name_future(sighting.future), _cpython.shielded_by(sighting.future)
        if sighting.task is None:
            message = f"{subject} of {name_loop(home, state)} was handed to {name_loop(loop)}"
            title = f"handed to {loop}"
        else:
            who = f"task {sighting.task.get_name()!r} of {name_coroutine(sighting.task)}"
            message = f"{who} in {name_loop(loop)} awaited {subject} of {name_loop(home, state)}"
            title = f"awaited in {loop}"
        yield Observation(
            Finding(
                RULE,
                message,
                loop,
                home,
                (
                    Stack(title, sighting.frames),
                    *where_made(sighting.future, "the future was made"),
                    *loop_births(home, loop),
                ),
                home_advice(sighting.home),
                home_state=state,
            ),
            sighting.error,
            sighting.way,
            about=(sighting.future,) if inner is None else (inner, sighting.future),
            users=users_of(sighting.task.get_coro()) if sighting.task is not None else None,
            expectable=True,
        )
