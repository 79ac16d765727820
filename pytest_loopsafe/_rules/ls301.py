"""LS301: tasks that were pending when their loop ended.

``asyncio.run()`` cancels what is left. What becomes of it then is another matter (LS207).

Left out is a task by which a test framework runs tests (`pytest_loopsafe._ledger.framework_tasks`).
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from types import CoroutineType
from typing import Any, Self

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopEnding
from pytest_loopsafe._probes.tasks import TaskProbe, TaskStarted
from pytest_loopsafe._rules.base import Detector, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.naming import name_coroutine
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, describe_frames, suspended_frames

PENDING = Rule(
    "LS301",
    "task-left-pending",
    Severity.WARNING,
    "a task was still pending when its loop ended",
    "Await it, or cancel it and await that, before the function given to asyncio.run() returns; a "
    "TaskGroup does so by itself. Work that must not be lost has to be awaited.",
)


class LeftTasks(Detector):
    """LS301 at the end of each loop."""

    rules = (PENDING,)
    probes = (LifeProbe(), TaskProbe())
    judges = (LoopEnding, TaskStarted)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # By its coroutine, who started a task.
        self._starters: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def follow(self, elder: Self) -> None:
        """Know who started what is still there."""
        self._starters = elder._starters

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note who starts what; report what is left pending."""
        if isinstance(sighting, TaskStarted):
            maker = self.loops.maker()
            if maker is not None:
                self._starters[sighting.coroutine] = maker.name
        elif isinstance(sighting, LoopEnding):
            info = self.loops.of(sighting.loop)
            for task in pending_tasks(sighting.loop):
                coroutine, starter = task.get_coro(), info.maker
                if coroutine in self.ledger.framework_tasks:
                    continue
                if type(coroutine) is CoroutineType:  # else its __hash__ is somebody's
                    starter = self._starters.get(coroutine, info.maker)
                yield self._left(task, info, starter, by_hand=sighting.by_hand)

    @staticmethod
    def _left(task: Any, info: LoopInfo, starter: str | None, *, by_hand: bool) -> Observation:
        frames, _ = suspended_frames(task.get_coro())
        ended = f"{info} ended, and was cancelled"
        if by_hand:
            ended = f"{info} was closed by hand: nothing cancels it, and none of it runs any more"
        who = f" (started in {starter})" if starter != info.maker else ""
        return Observation(
            Finding(
                PENDING,
                f"task {task.get_name()!r} of {name_coroutine(task)}{who} was still pending when "
                f"{ended}",
                info,
                None,
                (Stack(f"pending in {info}", describe_frames(frames)), *loop_births(info)),
                PENDING.remedy,
            ),
            about=(task,),
            users=(),
            identity=_cpython.coroutine_code(task),
        )


def pending_tasks(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """The tasks of a loop that nobody has dealt with: neither done nor asked to end."""
    try:
        tasks = _cpython.all_tasks(loop)
    except RuntimeError:  # the set of tasks kept changing while it was being read
        return []
    left = [
        task
        for task in tasks
        if not task.cancelling()
        and _cpython.coroutine_code(task) is not None
        and not _cpython.is_loops_own(task)
    ]
    return sorted(left, key=lambda task: str(task.get_name()))
