"""Seeing what is started in each loop: tasks, and timers of the user's own code."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import BuiltinMethodType, CodeType, CoroutineType, FunctionType, MethodType, ModuleType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._probes.slots import Making
from pytest_loopsafe._words.stacks import is_library, local_variables

TOLD = 20
"""So many tasks of one code are told in each loop: enough for workers, few for a busy server's."""


@dataclass(frozen=True)
class TaskStarted(Making):
    """A loop was given a task that runs `coroutine`, told for the first `TOLD` of each code.

    `code` is what the task is for: of a wrapper such as ``logged(worker())``, the coroutine that it
    was given. `last` says that no more of this code will be told in this loop.
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


@dataclass(frozen=True)
class ThingsTimerSet(Sighting):
    """A loop was given a timer that calls a method which is not the user's: ``cache.pop``."""

    loop: asyncio.AbstractEventLoop
    thing: Any
    method: str


def things_method(callback: Any) -> tuple[Any, str] | None:
    """The object and the method's name of what is not the user's code; None for all else.

    A future's methods are no such: to cancel a task in time changes nothing that outlives it.
    """
    kind = type(callback)
    if kind is MethodType:
        code = called_code(callback)
        if code is None or not is_library(code.co_filename):
            return None
    elif kind is not BuiltinMethodType:
        return None
    thing = callback.__self__
    if thing is None or issubclass(type(thing), asyncio.Future | ModuleType):
        return None
    return thing, callback.__name__


def called_code(callback: Any) -> CodeType | None:
    """The code of a plain function or method, which is what a timer calls; None for all else."""
    while type(callback) is functools.partial:
        callback = callback.func
    kind = type(callback)
    function = callback.__func__ if kind is MethodType else callback
    return function.__code__ if type(function) is FunctionType else None


@dataclass
class _Told:
    """How often a code was told in one loop. It is kept by the code's ``id()``, and keeps the code.

    To hash a code reads all of it, and two modules made from one template have equal ones.
    """

    code: CodeType
    loop: weakref.ref[Any]
    count: int = 0
    wraps: bool = False


class Tally:
    """What was told, by the ``id()`` of the code."""

    def __init__(self) -> None:
        self.told: dict[int, _Told] = {}

    def clear(self) -> None:
        """Begin anew."""
        self.told.clear()

    def of(self, code: CodeType, loop: Any) -> _Told:
        """What was told of a code in this loop."""
        told = self.told.get(id(code))
        if told is None:
            told = self.told[id(code)] = _Told(code, weakref.ref(loop))
        elif told.loop() is not loop:
            told.loop, told.count = weakref.ref(loop), 0
        return told


def inner_code(coroutine: Any, own: CodeType) -> CodeType:
    """The code of the user's coroutine that one which has not begun was given; else its own."""
    frame = getattr(coroutine, "cr_frame", None)
    if frame is not None:
        for value in local_variables(frame).values():
            if type(value) is CoroutineType and not is_library(value.cr_code.co_filename):
                return value.cr_code
    return own


class TaskProbe:
    """Sees what is started in each loop."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook ``create_task``; each code is told a few times for each loop."""
        tasks = Tally()
        patches.when_armed(tasks.clear)

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            own_debug = _cpython.keeps_debug_traceback(original)

            def create_task(self: Any, coro: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                is_told = False
                if type(coro) is CoroutineType:
                    told = tasks.of(coro.cr_code, self)
                    if told.count < TOLD or told.wraps:
                        told.count += 1
                        code = inner_code(coro, told.code)
                        if code is not told.code:
                            told.wraps = True
                            told = tasks.of(code, self)
                            told.count += 1
                        is_told = told.count <= TOLD
                        if is_told:
                            emit(TaskStarted(self, code, coro, told.count == TOLD))
                task = original(self, coro, **kwargs)
                if is_told and _cpython.FORGETS_DONE:
                    _cpython.note_task(task)
                if own_debug and _cpython.in_debug(self):
                    _cpython.forget_hook(task)
                return task

            return create_task

        patches.on_loop_classes("create_task", build, inherited=True)
