"""LS207: background work that ended with its loop and was never started again.

A worker that a global started once dies with its loop, and the flag beside it keeps the next loop
from starting it again: whatever relies on it does nothing from then on, without an error.

What was pending when its loop ended is followed: has a later loop that ran the same code started it
again? Code that starts something in the first loop and not in the next, although it is run with the
same arguments, remembers that it has; where that is, `pytest_loopsafe._graph.guards` finds.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.guards import Starter, is_guarded_by, starters
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopEnding
from pytest_loopsafe._probes.tasks import TaskProbe, TaskStarted, TimerSet, called_code
from pytest_loopsafe._rules.base import Detector, RunEnded, loop_births, name_coroutine
from pytest_loopsafe._rules.ls301 import pending_tasks
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import (
    Frame,
    Stack,
    describe_frames,
    first_argument,
    is_library,
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
_MAX_SEARCHES = 5
"""For each code: a search costs milliseconds, and a server may have a task for each connection."""


@dataclass
class _Starts:
    """Where a code was started first, and in which loop last, also for each object."""

    code: CodeType
    loop: int
    chain: tuple[Starter, ...] = ()
    frames: tuple[Frame, ...] = ()
    for_all: int = 0
    bearers: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Lost:
    """What went down with its loop.

    Attributes:
        who: what it is called in a report.
        code: what it ran.
        loop: its loop.
        frames: where it was, or where it was started.
        chain: the functions that had started it.
        task: itself.
        bearer: the object that it worked for.
        owner: how a global reaches the task.
        kind: ``pending``, ``cancelled`` by the code itself, or a ``timer``.
    """

    who: str
    code: CodeType
    loop: LoopInfo
    frames: tuple[Frame, ...]
    chain: tuple[Starter, ...]
    task: weakref.ref[Any] | None = None
    bearer: weakref.ref[Any] | None = None
    owner: str | None = None
    kind: str = "pending"


class LostBackground(Detector):
    """LS207 at the end of the run."""

    rules = (NOT_RESTARTED,)
    probes = (LifeProbe(), TaskProbe())
    judges = (LoopEnding, TaskStarted, TimerSet, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lost: dict[object, _Lost] = {}
        self._starts: dict[int, _Starts] = {}  # by the id() of the code
        self._searches: Counter[int] = Counter()
        self._wrapped: weakref.WeakKeyDictionary[Any, CodeType] = weakref.WeakKeyDictionary()

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what starts and what is lost; report what never started again."""
        if isinstance(sighting, TaskStarted):
            starts = self._started(sighting.code, sighting.loop)
            if sighting.code is not sighting.coroutine.cr_code:
                self._wrapped[sighting.coroutine] = sighting.code
            bearer = _bearer(sighting.coroutine.cr_frame)
            if bearer is not None and len(starts.bearers) < _MAX_CODES:
                starts.bearers[id(bearer)] = starts.loop
            if sighting.last:
                starts.for_all = starts.loop
        elif isinstance(sighting, TimerSet):
            self._started(sighting.code, sighting.loop)
        elif isinstance(sighting, LoopEnding):
            info = self.loops.of(sighting.loop)
            self._note_tasks(sighting.loop, info)
            self._note_timers(sighting.loop, info)
        elif isinstance(sighting, RunEnded):
            for lost in tuple(self._lost.values()):
                later = self.loops.rerun_since(lost.loop)
                if later is not None:
                    yield from self._judge(lost, later)

    def _started(self, code: CodeType, loop: asyncio.AbstractEventLoop) -> _Starts:
        number = self.loops.of(loop).number
        starts = self._starts.get(id(code))
        if starts is None:
            starts = _Starts(code, number)
            if len(self._starts) < _MAX_CODES:
                self._starts[id(code)] = starts
                if not is_library(code.co_filename):
                    starts.chain, starts.frames = starters(), stack_here()
        starts.loop = max(starts.loop, number)
        return starts

    # -- what is lost ----------------------------------------------------------------------

    def _note_tasks(self, loop: asyncio.AbstractEventLoop, info: LoopInfo) -> None:
        for task in pending_tasks(loop):
            frames, _ = suspended_frames(task.get_coro())
            code = self._code_of(task)
            bearer = _bearer(frames[0] if frames else None)
            key = (id(code), id(bearer) if bearer is not None else 0)
            if key in self._lost or len(self._lost) >= _MAX_CODES:
                continue
            owner = self._owner(task, code)
            if owner is None and is_library(code.co_filename):
                continue
            chain = self._starts[id(code)].chain if id(code) in self._starts else ()
            who, described = _who(task), describe_frames(frames)
            refs = weakref.ref(task), _weak(bearer)
            self._lost[key] = _Lost(who, code, info, described, chain, *refs, owner)
        for task in _cpython.cancelled_tasks(loop)[:_MAX_CANCELLED]:
            starts = self._starts.get(id(self._code_of(task)))
            if starts is not None and starts.chain:
                self._lost.setdefault(
                    (id(starts.code), "cancelled"),
                    _Lost(
                        _who(task),
                        starts.code,
                        info,
                        starts.frames,
                        starts.chain,
                        weakref.ref(task),
                        kind="cancelled",
                    ),
                )

    def _note_timers(self, loop: asyncio.AbstractEventLoop, info: LoopInfo) -> None:
        """Those that set themselves again: others are left behind by many, and not missed."""
        for handle in _cpython.due_timers(loop):
            code = called_code(_cpython.timer_callback(handle))
            starts = self._starts.get(id(code)) if code is not None else None
            if starts is not None and not _SETS_TIMERS.isdisjoint(starts.code.co_names):
                who = f"a timer that was to call {starts.code.co_qualname}()"
                self._lost.setdefault(
                    (id(code), "timer"),
                    _Lost(who, starts.code, info, starts.frames, starts.chain, kind="timer"),
                )

    def _code_of(self, task: Any) -> CodeType:
        code = _cpython.coroutine_code(task)
        assert code is not None
        try:
            return self._wrapped.get(task.get_coro(), code)
        except TypeError:  # a coroutine of somebody's own kind
            return code

    def _owner(self, task: Any, code: CodeType) -> str | None:
        """How a global of the user's reaches the task itself."""
        self._searches[id(code)] += 1
        if self._searches[id(code)] > _MAX_SEARCHES:
            return None
        for owner in self.graph.owners(task):
            if owner.own and not owner.hidden:
                return owner.path
        return None

    # -- whether it came back --------------------------------------------------------------

    def _judge(self, lost: _Lost, later: LoopInfo) -> Iterator[Observation]:
        starts = self._starts.get(id(lost.code))
        if starts is not None and starts.loop > lost.loop.number:
            owner = self._still_guarded(lost, starts)
            if owner is None:
                return  # it came back
        elif lost.kind == "cancelled":
            owner = self._still_kept(lost)
            if owner is None:
                return  # it was ended in order, and is not missed
        else:
            owner = lost.owner or self.graph.guard_of(lost.chain)
            if owner is None and lost.kind == "timer":
                return
        yield self._not_restarted(lost, later, owner)

    def _still_guarded(self, lost: _Lost, starts: _Starts) -> str | None:
        """The object that keeps its own work from coming back, while another's does."""
        bearer = lost.bearer() if lost.bearer is not None else None
        if bearer is None:
            return None
        again = max(starts.for_all, starts.bearers.get(id(bearer), 0)) > lost.loop.number
        if again or not (lost.chain and is_guarded_by(lost.chain[0], bearer)):
            return None
        return self.graph.single_path(bearer)

    def _still_kept(self, lost: _Lost) -> str | None:
        """The variable that has a cancelled task, where its starter takes that for a living one."""
        task = lost.task() if lost.task is not None else None
        owner = self.graph.single_path(task) if task is not None else None
        if owner is None or owner.rpartition(".")[2] not in lost.chain[0].guards:
            return None
        return owner

    def _not_restarted(self, lost: _Lost, later: LoopInfo, owner: str | None) -> Observation:
        held = f", although {owner} still stands for it" if owner else ""
        was_here = lost.kind == "pending"
        title = f"it was here when {lost.loop} ended" if was_here else "it was started here"
        ended = "was cancelled in" if lost.kind == "cancelled" else "ended with"
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
            identity=(id(lost.code), owner),
            severity=Severity.ERROR if owner else Severity.WARNING,
        )


_SETS_TIMERS = frozenset({"call_later", "call_at"})


def _who(task: Any) -> str:
    return f"task {task.get_name()!r} of {name_coroutine(task)}"


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
