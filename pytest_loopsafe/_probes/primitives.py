"""Seeing asyncio's primitives: when one refuses a loop, and in which loops each is used.

A use is a call that could have had to wait. One by the user's own code counts as such. A library's
lock counts once it has been held across a suspension: a pool that takes its lock only around plain
statements can never be contended within a loop, and so never binds.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._probes.scheduling import CalledFromThread
from pytest_loopsafe._words.stacks import is_library


@dataclass(frozen=True)
class PrimitiveRefused(Sighting):
    """A primitive bound to `home` refused `loop`; asyncio is about to raise `error`."""

    primitive: Any
    loop: asyncio.AbstractEventLoop | None
    home: asyncio.AbstractEventLoop
    error: BaseException


@dataclass(frozen=True)
class PrimitiveUsed(Sighting):
    """A method that could wait was called. `waits`: it has to, and will bind the primitive."""

    primitive: Any
    method: str
    loop: asyncio.AbstractEventLoop
    waits: bool


@dataclass(frozen=True)
class QueueFilled(Sighting):
    """Something was put into a queue in a loop: told once for each of both."""

    queue: Any
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class EventChanged(Sighting):
    """An Event was set or cleared in a loop."""

    event: Any
    loop: asyncio.AbstractEventLoop


class BindingProbe:
    """Sees a bound primitive refuse another loop."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the mixin method that all primitives ask for their loop."""

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def _get_loop(self: Any) -> Any:
                __tracebackhide__ = True
                home = _cpython.bound_loop(self)
                if home is None or home is _cpython.get_running_loop():
                    return original(self)
                try:
                    return original(self)
                except RuntimeError as error:
                    emit(
                        PrimitiveRefused(_outermost(self), _cpython.get_running_loop(), home, error)
                    )
                    raise

            return _get_loop

        patches.replace(_cpython.LoopBoundMixin, "_get_loop", build)


def _outermost(primitive: Any) -> Any:
    """The primitive that the user called: a Barrier rests on a Condition, a Queue on an Event."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and _is_internal(frame):
        primitive = frame.f_locals.get("self", primitive)
        frame = frame.f_back
    return primitive


_WAITING_METHODS: tuple[tuple[type[Any], str], ...] = (
    (_cpython.ContextManagerMixin, "__aenter__"),
    (asyncio.Lock, "acquire"),
    (asyncio.Semaphore, "acquire"),
    (asyncio.Event, "wait"),
    (asyncio.Condition, "wait"),
    (asyncio.Queue, "get"),
    (asyncio.Queue, "put"),
    (asyncio.Queue, "join"),
    (asyncio.Barrier, "wait"),
    (asyncio.Barrier, "__aenter__"),
)


class _Settled:
    """Primitives whose use in a loop has been told already, so that a busy lock costs little.

    `loops` maps a primitive's ``id()`` to a weak reference to the loop. An entry goes with its
    primitive, so an ``id()`` is never taken for another's; nothing is kept alive by being watched.
    """

    def __init__(self) -> None:
        self.loops: dict[int, weakref.ref[Any]] = {}
        self._primitives: dict[int, weakref.ref[Any]] = {}

    def add(self, primitive: Any, loop: Any) -> None:
        key = id(primitive)

        def forget(_: object) -> None:
            self._primitives.pop(key, None)
            self.loops.pop(key, None)

        with suppress(TypeError):  # a class with __slots__ has no weak references: told each time
            if key not in self._primitives:
                self._primitives[key] = weakref.ref(primitive, forget)
            self.loops[key] = weakref.ref(loop)


_QUIET_HOLDS = 50
"""After so many holds in one loop during which nothing ran, a library's lock is left in peace
there: a pool that takes it for each command would otherwise pay for it each time."""

_GATES = (asyncio.Lock, asyncio.Semaphore)
_LOCKS, _QUEUES = _cpython.INTERNALS


def _nowhere() -> None:
    """Stands for the reference to a loop of what has not been told yet."""


class UseProbe:
    """Sees the use of a primitive by anybody but asyncio's own primitives."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the methods that may have to wait.

        The hooks are plain functions that return the original's coroutine untouched: an ``async``
        wrapper would put a coroutine of ours into every stack and ``await`` chain.
        """
        used, changed = _Settled(), _Settled()
        holds: dict[int, int] = {}
        patches.when_armed(used.loops.clear)
        patches.when_armed(changed.loops.clear)
        for owner, name in _WAITING_METHODS:
            build = self._build(name, emit, used, holds, patches.steps)
            patches.replace(owner, name, build)
        for name in ("set", "clear"):
            patches.replace(asyncio.Event, name, self._build_change(emit, changed))
        filled = _Settled()
        patches.when_armed(filled.loops.clear)
        patches.replace(asyncio.Queue, "put_nowait", self._build_put(emit, filled))
        for owner in (asyncio.Lock, asyncio.Semaphore):
            build = self._build_release(emit, used, holds, patches.steps)
            patches.replace(owner, "release", build)

    @staticmethod
    def _build(
        name: str, emit: Emit, used: _Settled, holds: dict[int, int], steps: list[int]
    ) -> Callable[[Any], Any]:
        # An event's wait counts or not by what happened before it: it is told each time.
        settles = name != "wait"

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            running = _cpython.get_running_loop
            told = used.loops.get

            def method(self: Any, *args: Any, **kwargs: Any) -> Any:
                loop = running()
                if (
                    told(id(self), _nowhere)() is not loop
                    and loop is not None
                    and not _is_internal(caller := sys._getframe(1))
                    and not (name == "put" and self.maxsize <= 0)  # it never waits
                ):
                    waits = _cpython.would_wait(self, name)
                    if not waits and isinstance(self, _GATES) and _of_library(caller.f_code):
                        holds[id(self)] = steps[0]  # told at its release, if at all
                    else:
                        if settles and _cpython.bound_loop(self) in (None, loop):
                            used.add(self, loop)
                        emit(PrimitiveUsed(self, name, loop, waits))
                return original(self, *args, **kwargs)

            return _marked_async(method)

        return build

    @staticmethod
    def _build_release(
        emit: Emit, used: _Settled, holds: dict[int, int], steps: list[int]
    ) -> Callable[[Any], Any]:
        """At its release a library's lock tells whether anything ran while it was held.

        Whatever resumes a suspended task is scheduled first: where nothing was scheduled between
        the two, nobody was suspended.
        """
        quiet: Counter[int] = Counter()

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def release(self: Any) -> Any:
                if holds and (taken := holds.pop(id(self), None)) is not None:
                    loop = _cpython.get_running_loop()
                    if taken != steps[0] and loop is not None:
                        if _cpython.bound_loop(self) in (None, loop):
                            used.add(self, loop)
                        emit(PrimitiveUsed(self, "acquire", loop, waits=False))
                    else:
                        quiet[id(self)] += 1
                        if quiet[id(self)] >= _QUIET_HOLDS:
                            del quiet[id(self)]
                            used.add(self, loop)
                return original(self)

            return release

        return build

    @staticmethod
    def _build_put(emit: Emit, filled: _Settled) -> Callable[[Any], Any]:
        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            running = _cpython.get_running_loop
            told = filled.loops.get

            def put_nowait(self: Any, item: Any) -> Any:
                loop = running()
                if loop is None:
                    _from_thread(emit, self, "put_nowait")
                elif told(id(self), _nowhere)() is not loop:
                    filled.add(self, loop)
                    emit(QueueFilled(self, loop))
                return original(self, item)

            return put_nowait

        return build

    @staticmethod
    def _build_change(emit: Emit, changed: _Settled) -> Callable[[Any], Any]:
        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            running = _cpython.get_running_loop
            told = changed.loops.get

            def change(self: Any) -> Any:
                loop = running()
                if loop is None:
                    _from_thread(emit, self, original.__name__)
                elif told(id(self), _nowhere)() is not loop and not _is_internal(sys._getframe(1)):
                    changed.add(self, loop)
                    emit(EventChanged(self, loop))
                return original(self)

            return change

        return build


def _from_thread(emit: Emit, primitive: Any, method: str) -> None:
    """A primitive that is bound to a loop of another thread, touched from sync code."""
    home = _cpython.bound_loop(primitive)
    if home is not None and home.is_running():
        emit(CalledFromThread(home, f"{type(primitive).__qualname__}.{method}", primitive))


@functools.lru_cache(maxsize=1024)
def _of_library(code: CodeType) -> bool:
    return is_library(code.co_filename)


def _is_internal(caller: FrameType) -> bool:
    # Compared one by one, without a generator: this is on the path of every acquire.
    where = caller.f_globals
    return where is _LOCKS or where is _QUEUES


def _marked_async(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep ``iscoroutinefunction`` true for a plain function that returns a coroutine."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    # asyncio's own marker; inspect's has no such thing on 3.11 (docs: known limitations)
    function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return function
