"""LS103: something was scheduled on, or written through, a closed loop.

Also the part of LS303 that only a finalizer notices: an object that was left open is collected
later, and its clean-up meets a closed loop. That is the leftover's fault, not a call's.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.connections import WRITES, ConnectionDriven, ConnectionProbe
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._probes.swallowing import anticipates, likely_handler
from pytest_loopsafe._rules.base import Detector, loop_births, name_loop
from pytest_loopsafe._rules.ls303 import LEFT_OPEN
from pytest_loopsafe._words.finalizers import in_finalizer
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, is_stdlib, live_frames, stack_here

CALL = Rule(
    "LS103",
    "closed-loop-call",
    Severity.ERROR,
    "something was scheduled on, or written through, a closed loop",
    "Close what belongs to a loop before that loop ends (`async with` within the function given "
    "to asyncio.run()); from a later loop it can no longer be closed in order. Make a new one in "
    "the new loop.",
)


@dataclass(frozen=True)
class ClosedLoopCall(Sighting):
    """A closed loop was called. `error` is what it raised; None where nothing was raised."""

    loop: asyncio.AbstractEventLoop
    running: asyncio.AbstractEventLoop | None
    method: str
    error: BaseException | None


_SCHEDULING = (
    "call_soon_threadsafe",
    "call_later",
    "call_at",
    "create_task",
    "run_in_executor",
    "run_until_complete",
    "run_forever",
    "add_reader",
    "add_writer",
)


class ClosedLoopProbe:
    """Sees every refusal of a closed loop."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook asyncio's own check; for other loops, the public methods that refuse."""

        def build_check(original: Callable[..., Any]) -> Callable[..., Any]:
            # Called on each call_soon. An open loop is answered here, at the original's own price.
            def _check_closed(self: Any) -> Any:
                if not self._closed:
                    return None
                __tracebackhide__ = True
                try:
                    return original(self)
                except RuntimeError as error:
                    method = sys._getframe(1).f_code.co_name
                    emit(ClosedLoopCall(self, _cpython.get_running_loop(), method, error))
                    raise

            return _check_closed

        patches.replace(_cpython.BaseEventLoop, "_check_closed", build_check)

        def build_method(original: Callable[..., Any]) -> Callable[..., Any]:
            name = original.__name__

            def method(self: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                try:
                    return original(self, *args, **kwargs)
                except RuntimeError as error:
                    if self.is_closed():
                        emit(ClosedLoopCall(self, _cpython.get_running_loop(), name, error))
                    raise

            return method

        for name in ("call_soon", *_SCHEDULING):
            patches.on_loop_classes(name, build_method, inherited=True, foreign_only=True)


class ClosedLoop(Detector):
    """LS103, and LS303 where a finalizer met the closed loop."""

    rules = (CALL, LEFT_OPEN)
    probes = (ClosedLoopProbe(), ConnectionProbe())
    judges = (ClosedLoopCall, ConnectionDriven)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report the call with its stack, unless it is a race that the code is prepared for."""
        if isinstance(sighting, ConnectionDriven):
            if not sighting.loop.is_closed() or sighting.method not in WRITES:
                return
            if self.loops.of(sighting.loop).inherited:
                return  # LS402
            sighting = ClosedLoopCall(sighting.loop, sighting.running, "write", None)
        assert isinstance(sighting, ClosedLoopCall)
        frames = live_frames()
        home = self.loops.of(sighting.loop)
        running = self.loops.of(sighting.running) if sighting.running is not None else None
        if in_finalizer(frames):
            rule = LEFT_OPEN
            message = f"something of {home} was left open; its finalizer met the closed loop"
            title = "cleaned up by a finalizer"
        elif _is_expected(frames, sighting):
            return
        else:
            rule = CALL
            where = f"in {running}" if running else "outside any loop"
            if sighting.error is None:
                message = f"data was written {where} through a transport of {home}, which is closed"
            else:
                message = f"{sighting.method}() was called {where} on {home}, which is closed"
            title = f"{sighting.method}() on {name_loop(home, 'closed')}"
        yield Observation(
            Finding(
                rule,
                message,
                running,
                home,
                (Stack(title, stack_here()), *loop_births(home, running)),
                rule.remedy,
                home_state="closed",
            ),
            sighting.error if rule is CALL else None,
            likely_handler(frames) if sighting.error else None,
            about=(sighting.loop,) if rule is CALL else (),
        )


def _is_expected(frames: list[FrameType], sighting: ClosedLoopCall) -> bool:
    """``call_soon_threadsafe`` from outside a loop, by who is prepared for the refusal.

    A thread cannot ask first: the loop may close between the question and the call. So catching
    the refusal is the only correct way, and code that does it is no bug. A broad ``except
    Exception`` further out is one: that is how a callback thread goes on posting to a dead loop.
    """
    if sighting.running is not None or sighting.method != "call_soon_threadsafe":
        return False
    if all(is_stdlib(frame.f_code.co_filename) for frame in frames):
        return True  # run_in_executor's own late answer, which nobody waits for any more
    asyncio_file = _cpython.BaseEventLoop.call_soon_threadsafe.__code__.co_filename
    callers = [frame for frame in frames if frame.f_code.co_filename != asyncio_file]
    return any(anticipates(caller, RuntimeError) for caller in callers)
