"""LS207: background work that ended with its loop and was never started again.

A worker that a global started once dies with its loop, and the flag beside it keeps the next loop
from starting it again: whatever relies on it does nothing from then on, without an error.

What was pending when its loop ended is followed: has a later loop that ran the same code started it
again? Code that starts something in the first loop and not in the next, although it is run with the
same arguments, remembers that it has; where that is, `pytest_loopsafe.heap.guards` finds.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from pytest_loopsafe import cpython
from pytest_loopsafe.detectors.base import Detector, RunEnded, loop_births, name_coroutine
from pytest_loopsafe.detectors.left_tasks import pending_tasks
from pytest_loopsafe.findings import Finding, Observation
from pytest_loopsafe.heap.guards import Starter, starters
from pytest_loopsafe.loops import LoopInfo
from pytest_loopsafe.probes.instrumentation import Sighting
from pytest_loopsafe.probes.lives import LifeProbe, LoopEnding
from pytest_loopsafe.probes.tasks import TaskProbe, TaskStarted, TimerSet, called_code
from pytest_loopsafe.rules import Rule, Severity
from pytest_loopsafe.stacks import (
    Frame,
    Stack,
    describe_frames,
    first_argument,
    is_library,
    local_variables,
    stack_here,
    suspended_frames,
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

_MAX_CODES = 1_000
_MAX_CANCELLED = 100


@dataclass
class _Starts:
    """Where a code was started: the last loop, and in it by whom and for which object."""

    loop: int
    chain: tuple[Starter, ...]
    frames: tuple[Frame, ...]
    for_all: int = 0
    bearers: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Lost:
    """What went down with its loop."""

    who: str
    code: CodeType
    loop: LoopInfo
    frames: tuple[Frame, ...]
    chain: tuple[Starter, ...]
    task: weakref.ref[Any] | None
    bearer: weakref.ref[Any] | None
    owner: str | None
    is_timer: bool = False
    was_cancelled: bool = False


class LostBackground(Detector):
    """LS207 at the end of the run."""

    rules = (NOT_RESTARTED,)
    probes = (LifeProbe(), TaskProbe())
    judges = (LoopEnding, TaskStarted, TimerSet, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lost: dict[object, _Lost] = {}
        self._starts: dict[CodeType, _Starts] = {}
        self._wrapped: weakref.WeakKeyDictionary[Any, CodeType] = weakref.WeakKeyDictionary()

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what starts and what is lost; report what never started again."""
        if isinstance(sighting, TaskStarted):
            code = _effective(sighting.code, sighting.coroutine)
            if code is not sighting.code:
                self._wrapped[sighting.coroutine] = code
            starts = self._started(code, sighting.loop)
            bearer = _bearer(getattr(sighting.coroutine, "cr_frame", None))
            starts.bearers[id(bearer) if bearer is not None else 0] = starts.loop
            if sighting.last:
                starts.for_all = starts.loop
            if code is not sighting.code:
                self._started(sighting.code, sighting.loop)
                if sighting.last:
                    # What else this wrapper is given in this loop will not be told.
                    for other in self._starts.values():
                        other.loop = other.for_all = max(other.loop, starts.loop)
        elif isinstance(sighting, TimerSet):
            self._started(sighting.code, sighting.loop)
        elif isinstance(sighting, LoopEnding):
            self._note(sighting.loop)
        elif isinstance(sighting, RunEnded):
            for lost in self._lost.values():
                later = self.loops.rerun_since(lost.loop)
                if later is not None:
                    yield from self._judge(lost, later)

    def _started(self, code: CodeType, loop: asyncio.AbstractEventLoop) -> _Starts:
        number = self.loops.of(loop).number
        starts = self._starts.get(code)
        if starts is None:
            if len(self._starts) >= _MAX_CODES or is_library(code.co_filename):
                self._starts[code] = starts = _Starts(number, (), ())
            else:
                self._starts[code] = starts = _Starts(number, starters(), stack_here())
        starts.loop = max(starts.loop, number)
        return starts

    # -- what is lost ----------------------------------------------------------------------

    def _note(self, loop: asyncio.AbstractEventLoop) -> None:
        info = self.loops.of(loop)
        for task in pending_tasks(loop):
            frames, _ = suspended_frames(task.get_coro())
            code = cpython.coroutine_code(task)
            assert code is not None
            code = self._wrapped.get(task.get_coro(), code)
            bearer = _bearer(frames[0] if frames else None)
            key = (code, id(bearer) if bearer is not None else 0)
            if key in self._lost or len(self._lost) >= _MAX_CODES:
                continue
            owner = self._owner(task, bearer)
            if owner is None and is_library(code.co_filename):
                continue
            starts = self._starts.get(code)
            self._lost[key] = _Lost(
                f"task {task.get_name()!r} of {name_coroutine(task)}",
                code,
                info,
                describe_frames(frames),
                starts.chain if starts is not None else (),
                weakref.ref(task),
                _weak(bearer),
                owner,
            )
        for task in cpython.cancelled_tasks(loop)[:_MAX_CANCELLED]:
            code = cpython.coroutine_code(task)
            if code is None or is_library(code.co_filename) or (code, None) in self._lost:
                continue
            starts = self._starts.get(code)
            self._lost[code, None] = _Lost(
                f"task {task.get_name()!r} of {name_coroutine(task)}",
                code,
                info,
                starts.frames if starts is not None else (),
                (),
                weakref.ref(task),
                None,
                None,
                was_cancelled=True,
            )
        for handle in cpython.due_timers(loop):
            code = called_code(cpython.timer_callback(handle))
            if code is None or is_library(code.co_filename) or code in self._lost:
                continue
            starts = self._starts.get(code)
            self._lost[code] = _Lost(
                f"a timer that was to call {code.co_qualname}()",
                code,
                info,
                starts.frames if starts is not None else (),
                starts.chain if starts is not None else (),
                None,
                None,
                None,
                is_timer=True,
            )

    def _owner(self, task: Any, bearer: Any) -> str | None:
        """How a global of the user's reaches the task, or the object that it works for."""
        things = [task] if bearer is None else [task, bearer]
        for owner in self.heap.owners(*things, ignore=(things,)):
            if owner.own and not owner.hidden:
                return owner.path
        return None

    # -- whether it came back --------------------------------------------------------------

    def _judge(self, lost: _Lost, later: LoopInfo) -> Iterator[Observation]:
        starts = self._starts.get(lost.code)
        owner = lost.owner
        if starts is not None and starts.loop > lost.loop.number:
            # The code runs again. For this very object too? A later loop may have its own one.
            bearer = lost.bearer() if lost.bearer is not None else None
            if bearer is None or max(starts.for_all, starts.bearers.get(id(bearer), 0)) > (
                lost.loop.number
            ):
                return
            owner = self.heap.single_path(bearer)
            if owner is None:
                return
        elif lost.was_cancelled:
            # By the code itself, and in order. Only a global that still has the very task, and did
            # not make another, takes it for a living one.
            task = lost.task() if lost.task is not None else None
            owner = self.heap.single_path(task) if task is not None else None
            if owner is None:
                return
        elif owner is None:
            owner = self.heap.guard_of(lost.chain)
            if owner is None and lost.is_timer:
                return  # long timers are left behind by many who do not need them any more
        yield self._not_restarted(lost, later, owner)

    def _not_restarted(self, lost: _Lost, later: LoopInfo, owner: str | None) -> Observation:
        held = f", although {owner} still stands for it" if owner else ""
        started = lost.is_timer or lost.was_cancelled
        title = "it was started here" if started else f"it was here when {lost.loop} ended"
        ended = "was cancelled in" if lost.was_cancelled else "ended with"
        return Observation(
            Finding(
                NOT_RESTARTED,
                f"{lost.who} {ended} {lost.loop}, and nothing started it again when {later} ran "
                f"the same code{held}",
                later,
                lost.loop,
                (Stack(title, lost.frames), *loop_births(lost.loop, later)),
                NOT_RESTARTED.remedy,
                home_state="closed",
                owner=owner,
            ),
            identity=(lost.code, owner),
            severity=Severity.ERROR if owner else Severity.WARNING,
        )


def _effective(code: CodeType, coroutine: Any) -> CodeType:
    """What a task is for: of a wrapper such as ``logged(worker())``, the coroutine it was given.

    To be asked before it starts, when its variables are its arguments.
    """
    frame = getattr(coroutine, "cr_frame", None)
    if frame is None:
        return code
    for value in local_variables(frame).values():
        inner = getattr(value, "cr_code", None)
        if isinstance(inner, CodeType) and not is_library(inner.co_filename):
            return inner
    return code


def _bearer(frame: Any) -> Any:
    """The object that a coroutine's method belongs to; None where that is nobody's own."""
    bearer = first_argument(frame) if frame is not None else None
    return bearer if bearer is not None and _has_state(bearer) else None


def _has_state(thing: Any) -> bool:
    """Whether an object is somebody's own, so that who holds it stands for what it runs."""
    kind = type(thing)
    return kind.__flags__ & _HEAP_TYPE != 0 and not issubclass(
        kind, asyncio.AbstractEventLoop | weakref.ref
    )


_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: the class was made by a class statement."""


def _weak(thing: Any) -> weakref.ref[Any] | None:
    try:
        return weakref.ref(thing)
    except TypeError:
        return None
