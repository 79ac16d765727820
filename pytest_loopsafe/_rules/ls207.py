"""LS207: background work that ended with its loop and was never started again.

A worker that a global started once dies with its loop, and the flag beside it keeps the next loop
from starting it again: whatever relies on it does nothing from then on, without an error.

What is pending when its loop ends is noted, and so are, from then on, the runs of the functions
that had started it. All is judged when the run has ended (`pytest_loopsafe._rules.ls207_evidence`).
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.reliance import Surroundings, bearer_of, is_unheard, surroundings
from pytest_loopsafe._graph.starters import Starter, starters, starters_in
from pytest_loopsafe._probes.events import EventChanged
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopEnding
from pytest_loopsafe._probes.primitives import QueueFilled, UseProbe
from pytest_loopsafe._probes.reruns import Reruns
from pytest_loopsafe._probes.scheduling import SchedulingProbe
from pytest_loopsafe._probes.tasks import (
    TaskProbe,
    TaskStarted,
    ThingsTimerSet,
    TimerSet,
    called_code,
    things_method,
)
from pytest_loopsafe._probes.uses import PrimitiveUsed
from pytest_loopsafe._rules.base import Detector, RunEnded, loop_births
from pytest_loopsafe._rules.ls207_evidence import Evidence, Lost, Verdict
from pytest_loopsafe._rules.ls207_timers import ThingsTimers
from pytest_loopsafe._rules.ls301 import pending_tasks
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo, LoopRegistry
from pytest_loopsafe._words.naming import name_coroutine
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import (
    Frame,
    Stack,
    describe_frames,
    is_library,
    stack_here,
    suspended_frames,
)
from pytest_loopsafe._words.weak import weak

NOT_RESTARTED = Rule(
    "LS207",
    "background-not-restarted",
    Severity.ERROR,
    "a background task ended with its loop and was never started again",
    "Start it in each loop that relies on it (keep it with LoopLocal of pytest_loopsafe.recipes, "
    "or start and stop it with `async with`); a flag such as `started` says nothing about "
    "the loop of today: ask the task itself, and its loop.",
)

_SET_BACK = (
    "Set it back in a `finally`, which also runs when the loop's end cancels the task, or keep a "
    "status for each loop (in a WeakKeyDictionary keyed by the running loop: a plain value does "
    "not keep the loop)."
)
_ASK_THE_CLOCK = (
    "Keep until when it holds, and ask the clock: that goes on where a timer is gone with its loop."
)
_MAX_CODES = 1_000
_MAX_CANCELLED = 100


@dataclass
class _Starts:
    """Where a code was started first, and in which loop last, also for each object."""

    code: CodeType
    loop: int
    chain: tuple[Starter, ...] = ()
    frames: tuple[Frame, ...] = ()
    for_all: int = 0
    bearers: dict[int, int] = field(default_factory=dict)


@dataclass
class _Inbox:
    """A queue or an event of lost work: the last loops that filled or set it, and that read it."""

    ref: weakref.ref[Any]
    filled: LoopInfo | None = None
    read: int = 0


class _Now:
    """In which loop code counts as running; sync code in the next after those that ended."""

    def __init__(self, loops: LoopRegistry) -> None:
        self._loops = loops
        self.ended = 0

    def __call__(self) -> tuple[int, str | None]:
        loop = _cpython.get_running_loop()
        number = self._loops.of(loop).number if loop is not None else self.ended + 1
        return number, self._loops.pass_key


class LostBackground(Detector):
    """LS207 at the end of the run."""

    rules = (NOT_RESTARTED,)
    probes = (LifeProbe(), TaskProbe(), SchedulingProbe(), UseProbe())
    judges = (
        LoopEnding,
        TaskStarted,
        TimerSet,
        ThingsTimerSet,
        QueueFilled,
        EventChanged,
        PrimitiveUsed,
        RunEnded,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lost: dict[object, Lost] = {}
        self._starts: dict[int, _Starts] = {}  # by the id() of the code
        self._chains: weakref.WeakKeyDictionary[Any, tuple[Starter, ...]] = (
            weakref.WeakKeyDictionary()
        )
        self._wrapped: weakref.WeakKeyDictionary[Any, CodeType] = weakref.WeakKeyDictionary()
        self._inboxes: dict[int, _Inbox] = {}
        self._things_timers = ThingsTimers()
        self._now = _Now(self.loops)
        self._reruns = Reruns(self._now)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what starts and what is lost; report what never started again."""
        if isinstance(sighting, TaskStarted):
            self._task_started(sighting)
        elif isinstance(sighting, TimerSet):
            self._started(sighting.code, sighting.loop, ())
        elif isinstance(sighting, ThingsTimerSet):
            number = self.loops.of(sighting.loop).number
            self._things_timers.is_set(sighting.thing, sighting.method, number)
        elif isinstance(sighting, QueueFilled):
            self._handed(sighting.queue, sighting.loop, fills=True)
        elif isinstance(sighting, EventChanged):
            self._handed(sighting.event, sighting.loop, fills=True)
        elif isinstance(sighting, PrimitiveUsed):
            if sighting.method in ("get", "wait"):
                self._handed(sighting.primitive, sighting.loop, fills=False)
        elif isinstance(sighting, LoopEnding):
            info = self.loops.of(sighting.loop)
            self._now.ended = max(self._now.ended, info.number)
            self._note_tasks(sighting.loop, info)
            self._note_timers(sighting.loop, info)
        elif isinstance(sighting, RunEnded):
            evidence = Evidence(self.graph, self._reruns)
            for lost in tuple(self._lost.values()):
                yield from self._judge(lost, evidence)
            self.close()

    def close(self) -> None:
        """No function need be followed any more."""
        self._reruns.stop()

    def forked(self) -> None:
        """Go on in a forked child."""
        self._reruns.forked()

    # -- what starts -----------------------------------------------------------------------

    def _task_started(self, sighting: TaskStarted) -> None:
        chain = self._chains[sighting.coroutine] = starters()
        starts = self._started(sighting.code, sighting.loop, chain)
        if sighting.code is not sighting.coroutine.cr_code:
            self._wrapped[sighting.coroutine] = sighting.code
        bearer = bearer_of(sighting.coroutine.cr_frame)
        if bearer is not None and len(starts.bearers) < _MAX_CODES:
            starts.bearers[id(bearer)] = starts.loop
        if sighting.last:
            starts.for_all = starts.loop

    def _started(
        self, code: CodeType, loop: asyncio.AbstractEventLoop, chain: tuple[Starter, ...]
    ) -> _Starts:
        number = self.loops.of(loop).number
        starts = self._starts.get(id(code))
        if starts is None:
            starts = _Starts(code, number)
            if len(self._starts) < _MAX_CODES:
                self._starts[id(code)] = starts
                starts.chain = chain or starters()
                if not is_library(code.co_filename):
                    starts.frames = stack_here()
        starts.loop = max(starts.loop, number)
        return starts

    def _handed(self, thing: Any, loop: asyncio.AbstractEventLoop, *, fills: bool) -> None:
        inbox = self._inboxes.get(id(thing))
        if inbox is not None and inbox.ref() is thing:
            info = self.loops.of(loop)
            if fills:
                inbox.filled = info
            else:
                inbox.read = max(inbox.read, info.number)

    # -- what is lost ----------------------------------------------------------------------

    def _note_tasks(self, loop: asyncio.AbstractEventLoop, info: LoopInfo) -> None:
        noted: set[object] = set()
        for task in pending_tasks(loop):
            coroutine = task.get_coro()
            frames, _ = suspended_frames(coroutine)
            code = self._code_of(task)
            bearer = bearer_of(frames[0] if frames else None)
            key = (id(code), id(bearer) if bearer is not None else 0)
            if key in noted or (key not in self._lost and len(self._lost) >= _MAX_CODES):
                continue
            noted.add(key)
            around = surroundings(coroutine, frames)
            self._note(
                key,
                Lost(
                    _who(task),
                    code,
                    info,
                    describe_frames(frames),
                    self._chain_of(task, code),
                    weakref.ref(task),
                    weak(bearer),
                    around,
                    starters_in(coroutine),
                ),
            )
            for ref in around.inboxes:
                self._inboxes.setdefault(id(ref()), _Inbox(ref))
        for task in _cpython.cancelled_tasks(loop)[:_MAX_CANCELLED]:
            code = self._code_of(task)
            starts = self._starts.get(id(code))
            if starts is not None and starts.chain:
                chain, ref = self._chain_of(task, code), weakref.ref(task)
                self._note(
                    (id(code), "cancelled"),
                    Lost(_who(task), code, info, starts.frames, chain, ref, kind="cancelled"),
                )

    def _note_timers(self, loop: asyncio.AbstractEventLoop, info: LoopInfo) -> None:
        """Those of the user's code; whether one that is to go off once is missed, is told later."""
        for handle in _cpython.due_timers(loop):
            callback = _cpython.timer_callback(handle)
            of_thing = things_method(callback)
            lost = self._things_timers.lost(*of_thing, info) if of_thing is not None else None
            if lost is not None:
                self._note((id(lost.code), lost.who), lost)
            code = called_code(callback)
            starts = self._starts.get(id(code)) if code is not None else None
            if starts is not None and not is_library(starts.code.co_filename):
                once = _SETS_TIMERS.isdisjoint(starts.code.co_names)
                who = f"a timer that was to call {starts.code.co_qualname}()"
                around = Surroundings((starts.code,))
                self._note(
                    (id(code), "timer"),
                    Lost(
                        who,
                        starts.code,
                        info,
                        starts.frames,
                        starts.chain,
                        around=around,
                        kind="once" if once else "timer",
                    ),
                )

    def _note(self, key: object, lost: Lost) -> None:
        """Keep it, the last of its kind, and follow from here on who had started it."""
        self._lost[key] = lost
        for starter in (*lost.chain, *lost.within):
            self._reruns.follow(starter.code, starter.bearer)

    def _code_of(self, task: Any) -> CodeType:
        code = _cpython.coroutine_code(task)
        assert code is not None
        try:
            return self._wrapped.get(task.get_coro(), code)
        except TypeError:  # a coroutine of somebody's own kind
            return code

    def _chain_of(self, task: Any, code: CodeType) -> tuple[Starter, ...]:
        starts = self._starts.get(id(code))
        known = starts.chain if starts is not None else ()
        try:
            return self._chains.get(task.get_coro(), known)
        except TypeError:  # a coroutine of somebody's own kind
            return known

    # -- whether it came back, and who relies on it --------------------------------------------

    def _judge(self, lost: Lost, evidence: Evidence) -> Iterator[Observation]:
        starts = self._starts.get(id(lost.code))
        again = starts.loop if starts is not None else 0
        if lost.calls_thing:
            again = self._things_timers.last_set_by(lost.code)
        later, verdict = self.loops.rerun_since(lost.loop), None
        if later is not None:
            started = again > lost.loop.number and self._came_back(lost)
            verdict = evidence.of_status(lost, started=started)
        if verdict is not None:
            pass
        elif again <= lost.loop.number:
            verdict = self._handed_over(lost)
            if verdict is None and later is not None:
                verdict = evidence.of(lost)
        elif later is not None and not lost.calls_thing and not self._came_back(lost):
            verdict = evidence.of_its_object(lost)
        if verdict is not None:
            yield self._not_restarted(lost, later, verdict)

    def _came_back(self, lost: Lost) -> bool:
        """Whether what was started again may be for the same object."""
        starts = self._starts[id(lost.code)]
        bearer = lost.bearer()
        again = max(starts.for_all, starts.bearers.get(id(bearer), 0))
        return bearer is None or again > lost.loop.number

    def _handed_over(self, lost: Lost) -> Verdict | None:
        """Something was given to it in a later loop, and nobody else has taken it."""
        for ref in lost.around.inboxes:
            thing = ref()
            inbox = self._inboxes.get(id(thing)) if thing is not None else None
            if inbox is None or inbox.filled is None:
                continue
            if inbox.filled.number > lost.loop.number >= inbox.read and is_unheard(thing):
                owner = self.graph.path((thing,))
                return Verdict(Severity.ERROR, owner, handed=inbox.filled)
        return None

    def _not_restarted(self, lost: Lost, later: LoopInfo | None, verdict: Verdict) -> Observation:
        owner, remedy = verdict.owner, NOT_RESTARTED.remedy
        if verdict.barred is not None:
            again = f"{owner} was never set back: {verdict.barred}() left early in {later}"
            remedy = _SET_BACK
        elif verdict.handed is not None:
            later = verdict.handed
            what = owner or "what it reads"
            again = f"{later} gave it work through {what}, which nobody has taken"
        elif lost.kind == "once":
            again = f"{owner} still waits for it: in {later} nothing has set another"
            remedy = _ASK_THE_CLOCK
        else:
            held = f", although {owner} still stands for it" if owner else ""
            again = f"nothing started it again when {later} ran the same code{held}"
        here = f"it was here when {lost.loop} ended"
        title = here if lost.kind == "pending" else "it was started here"
        ended = "was cancelled in" if lost.kind == "cancelled" else "ended with"
        return Observation(
            Finding(
                NOT_RESTARTED,
                f"{lost.who} {ended} {lost.loop}, and {again}",
                later,
                lost.loop,
                (Stack(title, lost.frames), *loop_births(lost.loop, later)),
                remedy,
                home_state="closed",
                owner=owner,
            ),
            identity=(id(lost.code), owner),
            severity=verdict.severity,
        )


_SETS_TIMERS = frozenset({"call_later", "call_at"})


def _who(task: Any) -> str:
    return f"task {task.get_name()!r} of {name_coroutine(task)}"
