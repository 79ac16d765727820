"""LS103: something was scheduled on, or written through, a closed loop.

Also the part of LS303 that only a finalizer notices: an object that was left open is collected
later, and its clean-up meets a closed loop. That is the leftover's fault, not a call's.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pytest_loopsafe import cpython
from pytest_loopsafe.detectors.base import Detector, loop_births, name_loop
from pytest_loopsafe.findings import Finding, Observation
from pytest_loopsafe.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe.rules import Rule, Severity
from pytest_loopsafe.stacks import Stack, is_stdlib, live_frames, stack_here
from pytest_loopsafe.swallowing import anticipates, likely_handler

CALL = Rule(
    "LS103",
    "closed-loop-call",
    Severity.ERROR,
    "something was scheduled on, or written through, a closed loop",
    "Close what belongs to a loop before that loop ends (`async with` within the function given "
    "to asyncio.run()); from a later loop it can no longer be closed in order. Make a new one in "
    "the new loop.",
)
LEFT_OPEN = Rule(
    "LS303",
    "transport-left-open",
    Severity.WARNING,
    "something was left open at its loop's end, and only a finalizer noticed",
    "Close it before its loop ends: `async with` within the function given to asyncio.run().",
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
    """Sees every refusal of a closed loop, and writes through what outlived its loop."""

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
                    emit(ClosedLoopCall(self, cpython.get_running_loop(), method, error))
                    raise

            return _check_closed

        patches.replace(cpython.BaseEventLoop, "_check_closed", build_check)

        def build_method(original: Callable[..., Any]) -> Callable[..., Any]:
            name = original.__name__

            def method(self: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                try:
                    return original(self, *args, **kwargs)
                except RuntimeError as error:
                    if self.is_closed():
                        emit(ClosedLoopCall(self, cpython.get_running_loop(), name, error))
                    raise

            return method

        for name in ("call_soon", *_SCHEDULING):
            patches.on_loop_classes(name, build_method, inherited=True, foreign_only=True)

        def build_write(original: Callable[..., Any]) -> Callable[..., Any]:
            def write(self: Any, *args: Any, **kwargs: Any) -> Any:
                loop = cpython.transport_loop(self)
                if loop is not None and loop.is_closed():
                    emit(ClosedLoopCall(loop, cpython.get_running_loop(), "write", None))
                return original(self, *args, **kwargs)

            return write

        for owner, name in cpython.transport_writers():
            patches.replace(owner, name, build_write)


class ClosedLoop(Detector):
    """LS103, and LS303 where a finalizer met the closed loop."""

    rules = (CALL, LEFT_OPEN)
    probes = (ClosedLoopProbe(),)
    judges = (ClosedLoopCall,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report the call with its stack, unless it is a race that the code is prepared for."""
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
        )


def in_finalizer(frames: list[FrameType]) -> bool:
    """Whether the running code was entered by the collector, not by the program.

    Three ways in: ``__del__``; a weak reference's callback; and a suspended coroutine or generator
    that is collected, whose ``finally`` blocks then run with GeneratorExit in the air.
    """
    error: BaseException | None = sys.exception()
    while error is not None:
        if isinstance(error, GeneratorExit):
            return True
        error = error.__context__
    return any(_is_finalizer(frame) for frame in frames)


def _is_finalizer(frame: FrameType) -> bool:
    code = frame.f_code
    if code.co_name == "__del__":
        return True
    if code.co_filename == weakref.finalize.__call__.__code__.co_filename:
        return True
    names = code.co_varnames[: code.co_argcount]
    if len(names) == 1 or (len(names) == 2 and names[0] in ("self", "cls")):
        argument = frame.f_locals.get(names[-1])
        return isinstance(argument, weakref.ref) and argument() is None
    return False


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
    asyncio_file = cpython.BaseEventLoop.call_soon_threadsafe.__code__.co_filename
    callers = [frame for frame in frames if frame.f_code.co_filename != asyncio_file]
    return bool(callers) and anticipates(callers[-1], RuntimeError)
