"""LS307: work of one run went on in or beside a later one.

A *run* is what a loop that stays open was given with ``run_until_complete()``. Here it is about
tasks; what was handed over from a thread is in `pytest_loopsafe._rules.ls307_waiters`, what a pool
of threads works on in `pytest_loopsafe._rules.ls307_jobs`.

An interrupted main task
    was not done when its run ended (a KeyboardInterrupt, ``loop.stop()``, what a signal handler or
    a callback raised), and nobody has cancelled it or waits for it. Evidence: in a later run it
    went on, that is, it ended or came to wait for something else. An error where that run was of
    the same code. A warning where it was of another and the task is not done after it: what waits
    for its end is a clean-up, in whichever way it waits.

A task that a run started, or a callback at the end of such a task,
    was not done when its run ended. That alone says nothing, a kept loop may have its consumers.
    Evidence: nobody keeps the task when the next run begins; while it is undone a later run starts
    another of the same code; and it ends by itself in a run of the same code as its own, or not at
    all. Nobody ever waits for it or cancels it. A warning where a container has it until it is
    done: whoever has that may wait until it is empty.

A run of library code is none: ``asyncio.sleep()`` to let tasks end, a test framework's own. Nor is
one within a loop that runs.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Iterator
from contextvars import Context
from dataclasses import dataclass
from types import CodeType, CoroutineType, FrameType
from typing import Any, Self

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.keepers import is_held_until_done, is_kept
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopEnding, LoopRan, LoopRested
from pytest_loopsafe._probes.tasks import TaskProbe, TaskStarted, inner_code
from pytest_loopsafe._rules.base import Detector, RunEnded, loop_births
from pytest_loopsafe._rules.ls301 import pending_tasks
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.naming import name_coroutine
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import (
    Frame,
    Stack,
    describe_frames,
    first_argument,
    is_library,
    suspended_frames,
)
from pytest_loopsafe._words.weak import Ref, weak

OUTLIVES = Rule(
    "LS307",
    "work-outlives-run",
    Severity.ERROR,
    "work of one run went on in or beside a later one",
    "Let a run end what it began: await its tasks (a TaskGroup does), and where an error leaves a "
    "run, cancel its main task and run the loop until that has ended; asyncio.run() does so by "
    "itself.",
)

_MAX_LEFT = 100
"""So many tasks that a run has left are followed at a time, for each loop."""


@dataclass(eq=False)
class Run:
    """One run: its pass, what the pass runs, and what it was given itself."""

    in_pass: int
    key: str | None
    code: CodeType
    main: Ref
    has_started: bool = False

    @property
    def leaves_nothing(self) -> bool:
        """Whether its main task has ended, and was the only one."""
        main = self.main()
        return not self.has_started and getattr(main, "cr_frame", None) is None

    def repeats(self, earlier: Run) -> bool:
        """Whether the same code runs again: the same coroutine function, or a later pass's."""
        later_pass = self.in_pass > earlier.in_pass and self.key == earlier.key
        return later_pass or self.code is earlier.code


class _Left:
    """A task that was not done when its run ended. It is not kept."""

    def __init__(self, task: Any, code: CodeType, run: Run, info: LoopInfo) -> None:
        self.task = weakref.ref(task)
        self.code = code
        self.run = run
        self.info = info
        self.is_main = task.get_coro() is run.main()
        self.who = f"task {task.get_name()!r} of {name_coroutine(task)}"
        self.frames = describe_frames(suspended_frames(task.get_coro())[0])
        self.waits_for = weak(_cpython.awaited_by(task))
        self.followed = False
        self.held_until_done = is_held_until_done(task)
        self.ended = False  # by itself, in the run of some code of the user's
        self.dealt_with = False
        self.again: tuple[Frame, ...] = ()
        self.went_on = False

    @property
    def severity(self) -> Severity:
        """A warning where whoever has the container of such tasks may yet wait for its end."""
        return Severity.WARNING if self.held_until_done else Severity.ERROR

    def finish(self, task: Any) -> None:
        """It is done: by itself, or because somebody has cancelled it or waits for it."""
        loop = _cpython.future_loop(task)
        self.dealt_with |= task.cancelled() or _cpython.is_told_to_others(task, loop)
        self.ended = True

    def look(self) -> None:
        """Between two runs: see whether somebody cares for it by now."""
        task = self.task()
        if task is None:
            self.dealt_with |= not self.ended
        elif not task.done():
            self.dealt_with |= bool(task.cancelling()) or _cpython.awaiter_of(task) is not None

    def has_moved(self) -> bool:
        """Whether a task that is not done waits for something else than when its run ended."""
        task, waits_for = self.task(), self.waits_for()
        return task is not None and (
            waits_for is None or _cpython.awaited_by(task) is not waits_for
        )


class WorkOutlivesRun(Detector):
    """LS307 for the tasks of a loop that stays open."""

    rules = (OUTLIVES,)
    probes = (LifeProbe(), TaskProbe())
    judges = (LoopRan, LoopRested, TaskStarted, LoopEnding, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._runs: dict[int, list[Run | None]] = {}  # by the loop's number, the innermost last
        self._left: dict[int, list[_Left]] = {}
        self._started: weakref.WeakKeyDictionary[Any, tuple[Run, CodeType]] = (
            weakref.WeakKeyDictionary()
        )

    def follow(self, elder: Self) -> None:
        """Know what earlier runs of loops that are still open have left."""
        self._left = elder._left

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what each run starts and leaves; report what goes on in a later one."""
        if isinstance(sighting, TaskStarted):
            self._task_started(sighting)
        elif isinstance(sighting, LoopRan):
            self._begins(sighting)
        elif isinstance(sighting, LoopRested):
            yield from self._rests(sighting.loop)
        elif isinstance(sighting, LoopEnding):
            yield from self._ends(sighting.loop)
        elif isinstance(sighting, RunEnded):
            for loop in self.loops.alive():
                rests = not loop.is_closed() and not loop.is_running()
                if rests and not self.loops.lasts(self.loops.of(loop)):
                    yield from self._ends(loop)

    def _begins(self, sighting: LoopRan) -> None:
        number, main = self.loops.of(sighting.loop).number, sighting.main
        code = sighting.code
        if type(main) is CoroutineType and not main.cr_suspended:  # it has not begun
            code = inner_code(main, code)
        # Within a running loop (nest_asyncio) it is a part of that loop's own run.
        by_user = not is_library(code.co_filename) and not sighting.loop.is_running()
        run = Run(self.loops.pass_number, self.loops.pass_key, code, weak(main))
        self._runs.setdefault(number, []).append(run if by_user else None)
        kept = []
        for left in self._left.pop(number, ()):
            left.look()
            task = left.task()
            if left.ended or left.dealt_with or task is None or task.get_coro() is main:
                continue
            if by_user and not left.followed:
                left.followed = True
                del task
                if not left.is_main and is_kept(left.task):
                    continue
                task = left.task()
                if task is not None:
                    task.add_done_callback(left.finish, context=Context())
            kept.append(left)
        if kept:
            self._left[number] = kept

    def _task_started(self, sighting: TaskStarted) -> None:
        number = self.loops.of(sighting.loop).number
        run = self._run_of(number)
        if run is None or _cpython.get_running_loop() is not sighting.loop:
            return
        spawner = _cpython.task_in(sighting.loop) or _ended_task()
        coroutine = spawner.get_coro() if spawner is not None else None
        if coroutine is None or type(coroutine) is not CoroutineType:
            return  # of another callback, as a server's are: of no run
        if coroutine is not run.main() and self._run_that_started(coroutine) is not run:
            return
        self._started[sighting.coroutine] = run, sighting.code
        run.has_started = True
        for left in self._left.get(number, ()):
            if left.code is sighting.code and left.run is not run and not left.ended:
                left.again = left.again or sighting.frames

    def _run_of(self, number: int) -> Run | None:
        runs = self._runs.get(number)
        return runs[-1] if runs else None

    def _run_that_started(self, coroutine: Any) -> Run | None:
        known = self._started.get(coroutine)
        return known[0] if known is not None else None

    def _rests(self, loop: asyncio.AbstractEventLoop) -> Iterator[Observation]:
        info = self.loops.of(loop)
        runs = self._runs.get(info.number, [])
        run = runs.pop() if runs else None
        if not runs:
            self._runs.pop(info.number, None)
        if run is None:
            return
        before = self._left.pop(info.number, [])
        now = [] if run.leaves_nothing or loop.is_closed() else self._left_by(run, loop, info)
        goes_on = []
        for left in before:
            left.look()
            left.went_on |= left.ended or left.has_moved()
            if left.dealt_with:
                continue
            told = left.went_on if left.is_main else left.ended and left.again
            if told and run.repeats(left.run):
                yield self._found(left, loop, left.severity)
            elif not left.ended:
                goes_on.append(left)
        if goes_on or now:
            self._left[info.number] = [*goes_on, *now][-_MAX_LEFT:]

    def _left_by(self, run: Run, loop: asyncio.AbstractEventLoop, info: LoopInfo) -> list[_Left]:
        """What a run has left: its main task alone, where that is not done."""
        tasks = pending_tasks(loop)
        main = [task for task in tasks if task.get_coro() is run.main()]
        if main:
            return [_Left(main[0], run.code, run, info)]
        found = []
        for task in tasks:
            coroutine = task.get_coro()
            if type(coroutine) is not CoroutineType or _cpython.awaiter_of(task) is not None:
                continue
            started, code = self._started.get(coroutine, (None, coroutine.cr_code))
            if started is run and not is_library(code.co_filename):
                found.append(_Left(task, code, run, info))
        return found

    def _ends(self, loop: asyncio.AbstractEventLoop) -> Iterator[Observation]:
        """Nobody comes for what is left of it any more."""
        for left in self._left.pop(self.loops.of(loop).number, ()):
            left.look()
            task = left.task()
            if task is not None and left.followed:
                task.remove_done_callback(left.finish)
            if left.went_on and not left.dealt_with and not left.ended:
                if left.is_main:
                    yield self._found(left, loop, Severity.WARNING)
                elif left.again:
                    yield self._found(left, loop, left.severity)

    def _found(
        self, left: _Left, loop: asyncio.AbstractEventLoop, severity: Severity
    ) -> Observation:
        if left.is_main:
            what = "was left undone when its run was interrupted"
            other = "that ran the same code again" if severity is Severity.ERROR else "after it"
        else:
            what = "was still undone when its run ended, nobody awaits it"
            other = "that started another of the same code"
        stacks = [Stack("it was here when its run ended", left.frames)]
        if left.again:
            stacks.append(Stack("the same was started again here", left.again))
        task = left.task()
        return Observation(
            Finding(
                OUTLIVES,
                f"{left.who} {what}, and it went on in a run of {left.info} {other}",
                left.info,
                None,
                (*stacks, *loop_births(left.info)),
                OUTLIVES.remedy,
            ),
            about=(loop,) if task is None else (task, loop),
            users=(),
            severity=severity,
        )


def _ended_task() -> Any:
    """The task whose end calls what runs now; None where something else does."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_qualname != _cpython.CALLBACK_BEGINS:
        frame = frame.f_back
    ended = _cpython.told_of(first_argument(frame)) if frame is not None else None
    return ended if issubclass(type(ended), asyncio.Task) else None
