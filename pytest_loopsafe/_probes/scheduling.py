"""Seeing what is scheduled on loops: foreign awaits, and calls from the wrong thread.

How a foreign await is seen is told in `pytest_loopsafe._cpython`. Rejected: wrapping coroutines or
a task factory (the code under test would see other objects than in production, and a factory of its
own would win); the loop's exception handler (never called: the error is thrown into the coroutine,
where any ``except Exception`` ends it); the text of the message (one bug has many texts).
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import BuiltinMethodType, CodeType, FrameType, MethodType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._probes.tasks import (
    Tally,
    ThingsTimerSet,
    TimerSet,
    called_code,
    things_method,
)
from pytest_loopsafe._words.attributes import is_just_a
from pytest_loopsafe._words.stacks import (
    Frame,
    describe_frames,
    is_library,
    suspended_frames,
    waiters_frames,
)
from pytest_loopsafe._words.ways import Way, way_of_suspended


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
    way: Way


@dataclass(frozen=True)
class CalledFromThread(Sighting):
    """A loop that runs in one thread was called from another, past its thread-safe entry points.

    `method` is what was called; `thing` the primitive or future through which, if any.
    """

    loop: asyncio.AbstractEventLoop
    method: str
    thing: Any = None


@dataclass(frozen=True)
class ScheduledAside(Sighting):
    """Something was scheduled on an open loop that does not run now, from outside of it.

    `handle` stands for it: whether it ever ran is seen later.
    """

    loop: asyncio.AbstractEventLoop
    method: str
    handle: Any


class SchedulingProbe:
    """Sees the error that C code schedules for a task that yielded a foreign future.

    And calls from the wrong thread, which must pass here too.
    """

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook ``call_soon`` on every loop class that defines it."""
        step, normal = _cpython.step_type()
        referents, steps, running = gc.get_referents, patches.steps, _cpython.get_running_loop
        announcing = threading.local()
        timers, things = Tally(), _Things()
        patches.when_armed(timers.clear)
        patches.when_armed(things.clear)

        def announce(
            original: Any, loop: Any, callback: Any, error: Any, args: Any, context: Any
        ) -> Any:
            # A subclass's call_soon calls its base's, and both are hooked: announce once.
            outermost = not getattr(announcing, "now", False)
            announcing.now = True
            try:
                if outermost:
                    _announce(emit, loop, callback, error or _cpython.step_error(callback))
                return original(loop, callback, *args, context=context)
            finally:
                if outermost:
                    announcing.now = False

        def step_ends(callback: Any) -> None:
            """What is scheduled may be a task: then its step is over."""
            kind = type(callback)
            if kind is step:
                task = referents(callback)[normal - 1]
            elif kind is MethodType or kind is BuiltinMethodType:
                task = callback.__self__
            else:
                return
            ended = steps.pop(id(task), None)
            if ended is not None:
                ended.end()

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            own_debug = _cpython.keeps_debug_traceback(original)

            def call_soon(self: Any, callback: Any, *args: Any, context: Any = None) -> Any:
                __tracebackhide__ = True
                if steps:
                    step_ends(callback)
                if not runs_here(self) and runs_elsewhere(self):
                    emit(CalledFromThread(self, "call_soon"))
                if type(callback) is step:
                    if len(referents(callback)) > normal:
                        return announce(original, self, callback, None, args, context)
                elif args and issubclass(type(args[0]), BaseException):
                    return announce(original, self, callback, args[0], args, context)
                handle = original(self, callback, *args, context=context)
                if own_debug and _cpython.in_debug(self):
                    _cpython.forget_hook(handle)
                if not runs_here(self):
                    aside(self, "call_soon", handle)
                return handle

            return _cpython.quick_call_soon(original, (step, normal), steps, step_ends, call_soon)

        def runs_here(loop: Any) -> bool:
            return running() is loop

        def runs_elsewhere(loop: Any) -> bool:
            # Not one that this very thread runs, further out: nested loops share their thread.
            return loop.is_running() and _cpython.loop_thread(loop) != threading.get_ident()

        def aside(loop: Any, method: str, handle: Any) -> None:
            # Sync code prepares a loop that it is about to run; another loop's code does not, nor
            # does who thinks that it runs in another thread.
            prepares = _cpython.get_running_loop() is None and method != "call_soon_threadsafe"
            if not prepares and not loop.is_running() and not loop.is_closed():
                emit(ScheduledAside(loop, method, handle))

        def build_threadsafe(original: Callable[..., Any]) -> Callable[..., Any]:
            def call_soon_threadsafe(self: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                handle = original(self, *args, **kwargs)
                aside(self, "call_soon_threadsafe", handle)
                return handle

            return call_soon_threadsafe

        def build_stop(original: Callable[..., Any]) -> Callable[..., Any]:
            def stop(self: Any) -> Any:
                if not runs_here(self) and runs_elsewhere(self):
                    emit(CalledFromThread(self, "stop"))
                return original(self)

            return stop

        def build_timer(original: Callable[..., Any]) -> Callable[..., Any]:
            own = _cpython.keeps_debug_traceback(original)
            ident, known = threading.get_ident, timers.told.get

            def call_at(
                self: Any, when: Any, callback: Any, *args: Any, context: Any = None
            ) -> Any:
                __tracebackhide__ = True
                code = called_code(callback)
                if code is not None:
                    told = known(id(code))
                    if told is None or told.loop() is not self:
                        timers.of(code, self)
                        emit(TimerSet(self, code))
                if is_just_a(callback, _METHODS):
                    setter = _setter(sys._getframe(1))
                    of_thing = things_method(callback) if setter is not None else None
                    if of_thing is not None and things.is_new(*of_thing, setter, self):
                        emit(ThingsTimerSet(self, *of_thing))
                if own and _cpython.runs_plainly(self) == (ident(), False):
                    return original(self, when, callback, *args, context=context)
                if not runs_here(self) and runs_elsewhere(self):
                    emit(CalledFromThread(self, "call_at"))
                handle = original(self, when, callback, *args, context=context)
                if own and _cpython.in_debug(self):
                    _cpython.forget_hook(handle)
                if not runs_here(self):
                    aside(self, "call_at", handle)
                return handle

            return call_at

        patches.on_loop_classes("call_soon", build, inherited=True)
        patches.on_loop_classes("call_at", build_timer, inherited=True)
        patches.on_loop_classes("call_soon_threadsafe", build_threadsafe, inherited=True)
        patches.on_loop_classes("stop", build_stop, inherited=True)


_METHODS = (MethodType, BuiltinMethodType)


def _setter(frame: FrameType | None) -> CodeType | None:
    """The user's function that called ``call_at``, or ``call_later`` which does; or None."""
    for _ in range(2):
        if frame is not None and not is_library(frame.f_code.co_filename):
            return frame.f_code
        frame = frame.f_back if frame is not None else None
    return None


class _Things:
    """The timers that were told of things' methods: of each the last loop and who set it."""

    def __init__(self) -> None:
        self._told: dict[tuple[int, str], tuple[CodeType | None, weakref.ref[Any]]] = {}

    def clear(self) -> None:
        """Begin anew."""
        self._told.clear()

    def is_new(self, thing: Any, method: str, setter: CodeType | None, loop: Any) -> bool:
        """Whether this function has not set one of this thing's in this loop."""
        known = self._told.get((id(thing), method))
        if known is not None and known[0] is setter and known[1]() is loop:
            return False
        if len(self._told) >= _MAX_THINGS:
            self._told.clear()
        self._told[id(thing), method] = setter, weakref.ref(loop)
        return True


_MAX_THINGS = 1_000


def _announce(emit: Emit, loop: Any, callback: Any, error: BaseException | None) -> None:
    task = getattr(callback, "__self__", None)
    get_coroutine = getattr(task, "get_coro", None)
    if error is None or get_coroutine is None:
        return
    coroutine = get_coroutine()
    frames, last = suspended_frames(coroutine)
    future = _cpython.awaited_future(last)
    home = _cpython.future_loop(future) if future is not None else None
    if home is not None and home is not loop:
        emit(
            ForeignAwait(
                task,
                future,
                loop,
                home,
                error,
                _described(task, frames),
                way_of_suspended(coroutine, type(error)),
            )
        )


def _described(task: Any, frames: list[FrameType]) -> tuple[Frame, ...]:
    described = describe_frames(frames)
    if any(not frame.library for frame in described):
        return described
    return waiters_frames(task) + described
