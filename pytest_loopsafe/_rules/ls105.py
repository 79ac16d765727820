"""LS105: a loop was called from another thread, or waited for from its own.

Only ``call_soon_threadsafe`` and ``run_coroutine_threadsafe`` may be called from elsewhere: the
others do not wake the loop, which then sleeps on, and they race with it. ``Event.set``,
``Queue.put_nowait`` and ``Future.set_result`` call the loop for their waiters.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, CoroutineType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.connections import ConnectionDriven, ConnectionProbe
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopRan
from pytest_loopsafe._probes.primitives import UseProbe
from pytest_loopsafe._probes.scheduling import CalledFromThread, ScheduledAside, SchedulingProbe
from pytest_loopsafe._probes.tasks import inner_code
from pytest_loopsafe._rules.base import Detector, RunEnded, loop_births
from pytest_loopsafe._words.finalizers import in_finalizer
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo, state_of
from pytest_loopsafe._words.naming import name_loop
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import (
    Frame,
    Stack,
    is_stdlib,
    live_frames,
    stack_here,
)

RULE = Rule(
    "LS105",
    "thread-unsafe-call",
    Severity.ERROR,
    "a loop was called from another thread, or waited for from its own",
    "From another thread call loop.call_soon_threadsafe(function), or hand over a coroutine with "
    "asyncio.run_coroutine_threadsafe(coroutine, loop).",
)


@dataclass(frozen=True)
class HandedOver(Sighting):
    """``run_coroutine_threadsafe`` was called; `code` is what the coroutine is for."""

    loop: asyncio.AbstractEventLoop
    future: Any
    code: CodeType | None
    coroutine: Any


@dataclass(frozen=True)
class WaitedFor(Sighting):
    """A thread blocks for what only the loop that it runs itself could do."""

    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class WaitEnded(Sighting):
    """A thread waits no longer for what it handed over: it was done, or the thread gave up."""

    future: Any
    done: bool


class HandOverProbe:
    """Sees work handed over to loops, and threads that wait for it."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook ``run_coroutine_threadsafe``, and ``result`` of the futures that it returns."""
        homes: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def run_coroutine_threadsafe(coro: Any, loop: Any) -> Any:
                __tracebackhide__ = True
                own = coro.cr_code if type(coro) is CoroutineType else None
                code = inner_code(coro, own) if own is not None else None
                future = original(coro, loop)
                homes[future] = weakref.ref(loop)
                emit(HandedOver(loop, future, code, coro))
                return future

            return run_coroutine_threadsafe

        def build_wait(original: Callable[..., Any]) -> Callable[..., Any]:
            def wait(self: Any, timeout: Any = None) -> Any:
                __tracebackhide__ = True
                running = _cpython.get_running_loop()
                exact = type(self) is concurrent.futures.Future  # as handed out; else not asked
                if not exact or self not in homes:
                    return original(self, timeout)
                if running is not None and not self.done():
                    loop = homes[self]()
                    if loop is running:
                        emit(WaitedFor(loop))
                try:
                    return original(self, timeout)
                finally:
                    emit(WaitEnded(self, self.done()))

            return wait

        for owner in _cpython.HAND_OVERS:
            patches.replace(owner, "run_coroutine_threadsafe", build)
        for name in ("result", "exception"):
            patches.replace(concurrent.futures.Future, name, build_wait)


@dataclass
class _Handed:
    """What was handed to a loop that did not run then; the future itself is not kept."""

    info: LoopInfo
    loop: weakref.ref[Any]
    frames: tuple[Frame, ...]
    pass_number: int
    done: bool = False

    def finish(self, future: object) -> None:
        """It ran after all, or was cancelled."""
        self.done = True


@dataclass(frozen=True)
class _Aside:
    """What was scheduled on a loop that stood still, first in each pass."""

    info: LoopInfo
    loop: weakref.ref[Any]
    method: str
    frames: tuple[Frame, ...]
    handles: dict[int, weakref.ref[Any]]


_MAX_ASIDE = 100
_HAND_OVER = asyncio.run_coroutine_threadsafe.__code__
"""What asyncio calls the loop in for a hand-over."""


class ThreadCalls(Detector):
    """LS105."""

    rules = (RULE,)
    probes = (SchedulingProbe(), HandOverProbe(), UseProbe(), ConnectionProbe(), LifeProbe())
    judges = (
        CalledFromThread,
        ConnectionDriven,
        HandedOver,
        LoopRan,
        ScheduledAside,
        WaitedFor,
        RunEnded,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._handed: list[_Handed] = []
        self._aside: dict[tuple[int, str], _Aside] = {}
        self._ran: set[int] = set()

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report calls at once; work handed to a loop that rests, at the end of the run."""
        if isinstance(sighting, CalledFromThread):
            stops_copy = sighting.method == "stop" and self.loops.of(sighting.loop).inherited
            if not stops_copy and not in_finalizer(live_frames()):
                yield self._called(sighting)
        elif isinstance(sighting, WaitedFor):
            info = self.loops.of(sighting.loop)
            yield self._found(
                f"the thread that runs {info} waits for work that it handed to {info} itself: "
                "neither can go on",
                info,
                Stack("it waits here", stack_here()),
                "In the loop's own thread await the coroutine, or a task of it.",
            )
        elif isinstance(sighting, HandedOver):
            info = self.loops.of(sighting.loop)
            if sighting.loop.is_running() or info.inherited:
                return  # all is well; or LS401
            handed = _Handed(info, weakref.ref(sighting.loop), stack_here(), self.loops.pass_number)
            sighting.future.add_done_callback(handed.finish)
            self._handed.append(handed)
        elif isinstance(sighting, ConnectionDriven):
            # A transport writes and reads where its loop runs, and locks nothing.
            if sighting.running is None and sighting.loop.is_running():
                if self.loops.of(sighting.loop).inherited:
                    return  # LS402
                call = CalledFromThread(sighting.loop, sighting.method, sighting.thing)
                yield from self.observe(call)
        elif isinstance(sighting, ScheduledAside):
            self._note_aside(sighting)
        elif isinstance(sighting, LoopRan):
            self._ran.add(self.loops.of(sighting.loop).number)
        elif isinstance(sighting, RunEnded):
            yield from self._never_run()
            yield from self._never_called()

    def _called(self, sighting: CalledFromThread) -> Observation:
        info = self.loops.of(sighting.loop)
        where = "which runs in another thread, without its thread-safe entry points"
        title = f"called in another thread than that of {info}"
        if info.inherited:
            where, title = "which does not run in a forked child", "called in the child"
        return self._found(
            f"{sighting.method}() reached {info}, {where}",
            info,
            Stack(title, stack_here()),
            RULE.remedy,
            sighting.thing,
        )

    def _never_run(self) -> Iterator[Observation]:
        for handed in self._handed:
            loop = handed.loop()
            if handed.done or (loop is not None and loop.is_running()):
                continue
            state = state_of(loop) if loop is not None else "gone"
            yield self._found(
                f"a coroutine was handed to {name_loop(handed.info, state)}, which no thread runs: "
                "it never started",
                handed.info,
                Stack("it was handed over here", handed.frames),
                "Hand work only to a loop that a thread of its own runs for as long as there is "
                "work: check loop.is_running(), and stop the thread last.",
                loop,
                handed.pass_number,
            )

    def _note_aside(self, sighting: ScheduledAside) -> None:
        if _cpython.is_stop(sighting.handle, sighting.loop):
            return  # of a loop that has stopped already
        if all(is_stdlib(frame.f_code.co_filename) for frame in live_frames()):
            return  # run_in_executor's own late answer, which nobody waits for any more
        if any(frame.f_code is _HAND_OVER for frame in live_frames()):
            return  # told as what was handed over
        info = self.loops.of(sighting.loop)
        site = Stack("", stack_here()).site
        key = (info.number, str(site))
        if key not in self._aside and not info.inherited and len(self._aside) < _MAX_ASIDE:
            loop = weakref.ref(sighting.loop)
            self._aside[key] = _Aside(info, loop, sighting.method, stack_here(), {})
        aside, number = self._aside.get(key), self.loops.pass_number
        if aside is not None and len(aside.handles) < _MAX_ASIDE:
            aside.handles.setdefault(number, weakref.ref(sighting.handle))

    def _never_called(self) -> Iterator[Observation]:
        """What other loops' code has scheduled on a loop that stood still, and still does."""
        for one in self._aside.values():
            loop = one.loop()
            if loop is None or loop.is_closed() or loop.is_running():
                continue
            if one.info.number in self._ran:
                continue  # it is run now and then, and may be again
            for number, ref in one.handles.items():
                handle = ref()
                if handle is None or not _cpython.is_waiting(handle, loop):
                    continue
                if not _cpython.is_in_future(handle, loop):
                    yield self._found(
                        f"{one.method}() scheduled work on {name_loop(one.info, state_of(loop))}, "
                        "which nobody runs: it never ran",
                        one.info,
                        Stack("it was scheduled here", one.frames),
                        "Schedule work on the loop that runs: asyncio.get_running_loop(), asked "
                        "for when it is needed and not kept from an earlier time.",
                        loop,
                        number,
                    )

    def _found(
        self,
        message: str,
        home: LoopInfo,
        stack: Stack,
        remedy: str,
        about: Any = None,
        pass_number: int | None = None,
    ) -> Observation:
        running = _cpython.get_running_loop()
        here = self.loops.of(running) if running is not None else None
        return Observation(
            Finding(RULE, message, here, home, (stack, *loop_births(home)), remedy),
            about=(about,) if about is not None else (),
            identity=_called_asyncio(stack.frames),
            pass_number=pass_number,
        )


def _called_asyncio(frames: tuple[Frame, ...]) -> Frame | None:
    """Which line of a library called asyncio, in a thread that runs none of the user's.

    An Event that is set there schedules its waiters' callbacks there: that is one call.
    """
    outside = [frame for frame in frames if f"{os.sep}asyncio{os.sep}" not in frame.file]
    return outside[-1] if outside and all(frame.library for frame in frames) else None
