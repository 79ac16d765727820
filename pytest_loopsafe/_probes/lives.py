"""Seeing what becomes of each loop: what it is given to run, when it is about to end, its close.

``asyncio.Runner`` (and so ``asyncio.run``) ends a loop in steps: it cancels the tasks that are
left, closes the async generators, then the loop. What the code left behind has to be looked at
before each step, for afterwards it is gone.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from types import CodeType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting


@dataclass(frozen=True)
class LoopRan(Sighting):
    """A loop was given a coroutine, or a task that runs one, to run until it is complete."""

    loop: asyncio.AbstractEventLoop
    code: CodeType
    main: Any


@dataclass(frozen=True)
class LoopRested(Sighting):
    """A loop has stopped that was given a coroutine to run, whether or not that is complete."""

    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class LoopEnding(Sighting):
    """A loop is about to end, by a Runner, which cancels its tasks now, or closed by hand.

    `context` is what its Runner has run all in; None where it has none.
    """

    loop: asyncio.AbstractEventLoop
    by_hand: bool = False
    context: Context | None = None


@dataclass(frozen=True)
class LoopClosing(Sighting):
    """A loop is about to be closed; what it had to clean up itself, it has."""

    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class LoopClosed(Sighting):
    """A loop has been closed."""

    loop: asyncio.AbstractEventLoop


class LifeProbe:
    """Sees ``run_until_complete``, the end of a Runner, and ``close`` of every kind of loop."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the Runner, and the two methods of loops."""
        # By id(): a set would hash and compare what may be the user's own class.
        ending: dict[int, weakref.ref[Any]] = {}
        closing: set[int] = set()

        def build_runner(original: Callable[..., Any]) -> Callable[..., Any]:
            def close(self: Any) -> Any:
                loop = _cpython.runner_loop(self)
                if loop is not None and not loop.is_closed():
                    ending[id(loop)] = weakref.ref(loop)
                    emit(LoopEnding(loop, context=_cpython.runner_context(self)))
                return original(self)

            return close

        def build_close(original: Callable[..., Any]) -> Callable[..., Any]:
            def close(self: Any) -> Any:
                if self.is_closed() or self.is_running() or id(self) in closing:
                    return original(self)  # nothing ends here, or a subclass has told it already
                closing.add(id(self))
                told = ending.pop(id(self), None)
                try:
                    if told is None or told() is not self:
                        emit(LoopEnding(self, by_hand=True))
                    emit(LoopClosing(self))
                    result = original(self)
                    emit(LoopClosed(self))
                    return result
                finally:
                    closing.discard(id(self))

            return close

        def build_run(original: Callable[..., Any]) -> Callable[..., Any]:
            def run_until_complete(self: Any, future: Any) -> Any:
                __tracebackhide__ = True
                main = _cpython.coroutine_of(future)
                code = _cpython.coroutine_code(main)
                if code is None:
                    return original(self, future)
                emit(LoopRan(self, code, main))
                try:
                    return original(self, future)
                finally:
                    emit(LoopRested(self))

            return run_until_complete

        patches.replace(asyncio.Runner, "close", build_runner)
        patches.on_loop_classes("close", build_close, inherited=True)
        patches.on_loop_classes("run_until_complete", build_run, inherited=True)
