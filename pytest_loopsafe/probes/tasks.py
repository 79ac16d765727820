"""Seeing what is started in each loop: tasks, and timers of the user's own code."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any

from pytest_loopsafe import cpython
from pytest_loopsafe.probes.instrumentation import Emit, Patches, Sighting

TOLD = 20
"""So many tasks of one code are told in each loop: enough for workers, few for a busy server's."""


@dataclass(frozen=True)
class TaskStarted(Sighting):
    """A loop was given a task that runs `coroutine`.

    Told for the first `TOLD` tasks of each code in a loop; `last` says that no more will be.
    """

    loop: asyncio.AbstractEventLoop
    code: CodeType
    coroutine: Any
    last: bool


@dataclass(frozen=True)
class TimerSet(Sighting):
    """A loop was given the first timer that calls a function of this code."""

    loop: asyncio.AbstractEventLoop
    code: CodeType


def called_code(callback: Any) -> CodeType | None:
    """The code of a plain function or method, which is what a timer calls; None for all else."""
    kind = type(callback)
    function = callback.__func__ if kind is MethodType else callback
    return function.__code__ if type(function) is FunctionType else None


class TaskProbe:
    """Sees what is started in each loop."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook ``create_task`` and ``call_at``; each code is told a few times for each loop."""
        tasks: dict[CodeType, tuple[weakref.ref[Any], int]] = {}
        timers: dict[CodeType, weakref.ref[Any]] = {}
        patches.when_armed(tasks.clear)
        patches.when_armed(timers.clear)

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            own_debug = cpython.keeps_debug_traceback(original)

            def create_task(self: Any, coro: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                code = getattr(coro, "cr_code", None)
                if code is not None:
                    known = tasks.get(code)
                    count = known[1] if known is not None and known[0]() is self else 0
                    if count < TOLD:
                        tasks[code] = weakref.ref(self), count + 1
                        emit(TaskStarted(self, code, coro, count + 1 == TOLD))
                task = original(self, coro, **kwargs)
                if own_debug and self._debug:
                    cpython.forget_hook(task)
                return task

            return create_task

        def build_timer(original: Callable[..., Any]) -> Callable[..., Any]:
            own_debug = cpython.keeps_debug_traceback(original)

            def call_at(self: Any, when: Any, callback: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                code = called_code(callback)
                if code is not None:
                    known = timers.get(code)
                    if known is None or known() is not self:
                        timers[code] = weakref.ref(self)
                        emit(TimerSet(self, code))
                handle = original(self, when, callback, *args, **kwargs)
                if own_debug and self._debug:
                    cpython.forget_hook(handle)
                return handle

            return call_at

        patches.on_loop_classes("create_task", build, inherited=True)
        patches.on_loop_classes("call_at", build_timer, inherited=True)
