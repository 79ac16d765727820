"""LS301 and LS207: tasks that were pending when their loop ended, and never started again.

``asyncio.run()`` cancels what is left. For a background worker that a global started once, that is
the end: ``if not self._started`` keeps the next loop from starting it again, and whatever relies on
it does nothing from then on, without an error.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from pytest_loopsafe import cpython
from pytest_loopsafe.detectors.base import Detector, RunEnded, loop_births, name_coroutine
from pytest_loopsafe.findings import Finding, Observation
from pytest_loopsafe.loops import LoopInfo
from pytest_loopsafe.probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe.probes.lives import LifeProbe, LoopEnding
from pytest_loopsafe.rules import Rule, Severity
from pytest_loopsafe.stacks import (
    Frame,
    Stack,
    describe_frames,
    first_argument,
    is_library,
    suspended_frames,
)

PENDING = Rule(
    "LS301",
    "task-left-pending",
    Severity.WARNING,
    "a task was still pending when its loop ended",
    "Await it, or cancel it and await that, before the function given to asyncio.run() returns; a "
    "TaskGroup does so by itself. Work that must not be lost has to be awaited.",
)
NOT_RESTARTED = Rule(
    "LS207",
    "background-not-restarted",
    Severity.ERROR,
    "a background task ended with its loop and was never started again",
    "Start it in each loop that relies on it (keep it in a WeakKeyDictionary keyed by the running "
    "loop, or start and stop it with `async with`); a flag such as `started` says nothing about "
    "the loop of today: ask the task itself, and its loop.",
)


@dataclass(frozen=True)
class TaskStarted(Sighting):
    """A loop was given the first task that runs this code."""

    loop: asyncio.AbstractEventLoop
    code: CodeType


class TaskProbe:
    """Sees what kinds of tasks are started in each loop."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook ``create_task``: told once for each loop and code."""
        told: dict[CodeType, weakref.ref[Any]] = {}
        patches.when_armed(told.clear)

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            own_debug = cpython.keeps_debug_traceback(original)

            def create_task(self: Any, coro: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                code = getattr(coro, "cr_code", None)
                if code is not None:
                    known = told.get(code)
                    if known is None or known() is not self:
                        told[code] = weakref.ref(self)
                        emit(TaskStarted(self, code))
                task = original(self, coro, **kwargs)
                if own_debug and self._debug:
                    cpython.forget_hook(task)
                return task

            return create_task

        patches.on_loop_classes("create_task", build, inherited=True)


@dataclass(frozen=True)
class _Lost:
    """A task that went down with its loop. `owner` leads to it, or to the flag beside it."""

    who: str
    code: CodeType
    loop: LoopInfo
    frames: tuple[Frame, ...]
    owner: str | None


class LeftTasks(Detector):
    """LS301 at the end of each loop, LS207 at the end of the run."""

    rules = (PENDING, NOT_RESTARTED)
    probes = (LifeProbe(), TaskProbe())
    judges = (LoopEnding, TaskStarted, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lost: dict[CodeType, _Lost] = {}
        self._started: dict[CodeType, set[int]] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what starts; report what is left pending, and what never started again."""
        if isinstance(sighting, TaskStarted):
            number = self.loops.of(sighting.loop).number
            self._started.setdefault(sighting.code, set()).add(number)
        elif isinstance(sighting, LoopEnding):
            info = self.loops.of(sighting.loop)
            for task in _pending(sighting.loop):
                yield self._left(task, info)
        elif isinstance(sighting, RunEnded):
            for lost in self._lost.values():
                later = self.loops.rerun_since(lost.loop)
                if later and max(self._started.get(lost.code, {0})) <= lost.loop.number:
                    yield self._not_restarted(lost, later)

    def _left(self, task: Any, info: LoopInfo) -> Observation:
        frames, _ = suspended_frames(task.get_coro())
        described = describe_frames(frames)
        who = f"task {task.get_name()!r} of {name_coroutine(task)}"
        code = cpython.coroutine_code(task)
        if code is not None and code not in self._lost:
            owner = self._owner(task, frames[0] if frames else None)
            if owner is not None or not is_library(code.co_filename):
                self._lost[code] = _Lost(who, code, info, described, owner)
        return Observation(
            Finding(
                PENDING,
                f"{who} was still pending when {info} ended, and was cancelled",
                info,
                None,
                (Stack(f"pending in {info}", described), *loop_births(info)),
                PENDING.remedy,
            ),
            identity=code,
        )

    def _owner(self, task: Any, frame: Any) -> str | None:
        """How a global of the user's reaches the task, its object, or the flag beside it."""
        things = [task]
        if frame is not None:
            bearer = first_argument(frame)
            things += [bearer] if _has_state(bearer) else []
        for owner in self.heap.owners(*things, ignore=(things,)):
            if owner.own and not owner.hidden:
                return owner.path
        return _flag_beside(frame) if frame is not None else None

    def _not_restarted(self, lost: _Lost, later: LoopInfo) -> Observation:
        held = f", although {lost.owner} still stands for it" if lost.owner else ""
        return Observation(
            Finding(
                NOT_RESTARTED,
                f"{lost.who} ended with {lost.loop}, and nothing started it again when {later} ran "
                f"the same code{held}",
                later,
                lost.loop,
                (
                    Stack(f"it was here when {lost.loop} ended", lost.frames),
                    *loop_births(lost.loop, later),
                ),
                NOT_RESTARTED.remedy,
                home_state="closed",
                owner=lost.owner,
            ),
            identity=lost.code,
            severity=Severity.ERROR if lost.owner else Severity.WARNING,
        )


def _pending(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """The tasks that nobody has dealt with: neither done nor asked to end."""
    try:
        tasks = asyncio.all_tasks(loop)
    except RuntimeError:  # the set of tasks kept changing while it was being read
        return []
    left = [
        task for task in tasks if not task.cancelling() and cpython.coroutine_code(task) is not None
    ]
    return sorted(left, key=lambda task: str(task.get_name()))


def _has_state(thing: Any) -> bool:
    """Whether an object is somebody's own, so that who holds it stands for what it runs."""
    kind = type(thing)
    return kind.__flags__ & _HEAP_TYPE != 0 and not isinstance(thing, asyncio.AbstractEventLoop)


_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: the class was made by a class statement."""


def _flag_beside(frame: Any) -> str | None:
    """A module's flag that the function which starts this coroutine looks at, still true.

    ``if not _started: _started = True; create_task(worker())``: some function of the module names
    both the coroutine function and a global that is True.
    """
    names = frame.f_globals
    started = frame.f_code.co_name
    for function in list(names.values()):
        if isinstance(function, FunctionType):
            code = function.__code__
            if started in (*code.co_names, *code.co_varnames, *code.co_cellvars):
                for name in code.co_names:
                    if names.get(name) is True:
                        return f"{names.get('__name__')}.{name}"
    return None
