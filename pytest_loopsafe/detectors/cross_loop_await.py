"""LS101: a task awaited a future or task of another loop.

How it is seen is told in `pytest_loopsafe.cpython`. Rejected: wrapping coroutines or a task
factory (the code under test would see other objects than in production, and a factory of its own
would win); the loop's exception handler (never called: the error is thrown into the coroutine,
where any ``except Exception`` ends it); the text of the message (one bug has many texts).
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pytest_loopsafe import cpython
from pytest_loopsafe.detectors.base import (
    Detector,
    home_advice,
    loop_births,
    name_coroutine,
    name_future,
    name_loop,
    where_made,
)
from pytest_loopsafe.findings import Finding, Observation
from pytest_loopsafe.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe.loops import state_of
from pytest_loopsafe.rules import Rule, Severity
from pytest_loopsafe.stacks import (
    Frame,
    Stack,
    describe_frames,
    live_frames,
    stack_here,
    suspended_frames,
    waiters_frames,
)
from pytest_loopsafe.swallowing import likely_handler

RULE = Rule(
    "LS101",
    "cross-loop-await",
    Severity.ERROR,
    "a task awaited a future of another loop",
    "Make what the future belongs to inside the loop that awaits it.",
)


@dataclass(frozen=True)
class ForeignAwait(Sighting):
    """A future of `home` met `loop`: awaited by a task, or given to ``ensure_future``.

    `error` is what asyncio is about to raise. `task` is None where no task was suspended.
    """

    task: Any
    future: Any
    loop: asyncio.AbstractEventLoop
    home: asyncio.AbstractEventLoop
    error: BaseException
    frames: tuple[Frame, ...]
    handler: Frame | None


class AwaitProbe:
    """Sees the error that C code schedules for a task that yielded a foreign future."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook ``call_soon`` on every loop class that defines it."""
        step, normal = cpython.step_type()
        announcing = threading.local()

        def announce(
            original: Any, loop: Any, callback: Any, error: Any, args: Any, context: Any
        ) -> Any:
            # A subclass's call_soon calls its base's, and both are hooked: announce once.
            outermost = not getattr(announcing, "now", False)
            announcing.now = True
            try:
                if outermost:
                    _announce(emit, loop, callback, error or cpython.step_error(callback))
                return original(loop, callback, *args, context=context)
            finally:
                if outermost:
                    announcing.now = False

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            referents = gc.get_referents
            steps = patches.steps
            own_debug = cpython.keeps_debug_traceback(original)

            # The hot path of every loop: the branches are laid out so that a task's normal step
            # costs one list and one call more (`make bench` prints the ratio).
            def call_soon(self: Any, callback: Any, *args: Any, context: Any = None) -> Any:
                __tracebackhide__ = True
                steps[0] += 1
                if type(callback) is step:
                    if len(referents(callback)) > normal:
                        return announce(original, self, callback, None, args, context)
                elif args and isinstance(args[0], BaseException):
                    return announce(original, self, callback, args[0], args, context)
                if args or context is None:
                    handle = original(self, callback, *args, context=context)
                else:
                    handle = original(self, callback, context=context)
                if own_debug and self._debug:
                    cpython.forget_hook(handle)
                return handle

            return call_soon

        patches.on_loop_classes("call_soon", build, inherited=True)


def _announce(emit: Emit, loop: Any, callback: Any, error: BaseException | None) -> None:
    task = getattr(callback, "__self__", None)
    get_coroutine = getattr(task, "get_coro", None)
    if error is None or get_coroutine is None:
        return
    frames, last = suspended_frames(get_coroutine())
    future = cpython.awaited_future(last)
    home = cpython.future_loop(future) if future is not None else None
    if home is not None and home is not loop:
        emit(
            ForeignAwait(
                task,
                future,
                loop,
                home,
                error,
                _described(task, frames),
                likely_handler(frames),
            )
        )


def _described(task: Any, frames: list[FrameType]) -> tuple[Frame, ...]:
    described = describe_frames(frames)
    if any(not frame.library for frame in described):
        return described
    return waiters_frames(task) + described


class EnsureFutureProbe:
    """Sees the ValueError of ``ensure_future``, ``gather`` and ``run_until_complete``."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the one function that raises it."""

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def ensure_future(coro_or_future: Any, *, loop: Any = None) -> Any:
                __tracebackhide__ = True
                if loop is None or not asyncio.isfuture(coro_or_future):
                    return original(coro_or_future, loop=loop)
                home = cpython.future_loop(coro_or_future)
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
                            likely_handler(live_frames(), ValueError),
                        )
                    )
                    raise

            return ensure_future

        for owner, name in cpython.ENSURE_FUTURE:
            patches.replace(owner, name, build)


class CrossLoopAwait(Detector):
    """LS101."""

    rules = (RULE,)
    probes = (AwaitProbe(), EnsureFutureProbe())
    judges = (ForeignAwait,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report the await with the frames down to it."""
        assert isinstance(sighting, ForeignAwait)
        loop, home = self.loops.of(sighting.loop), self.loops.of(sighting.home)
        state = state_of(sighting.home)
        subject = name_future(sighting.future)
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
            sighting.handler,
        )
