"""LS301: tasks that were pending when their loop ended.

``asyncio.run()`` cancels what is left. What becomes of it then is another matter (LS207).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopEnding
from pytest_loopsafe._rules.base import Detector, loop_births, name_coroutine
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
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
    probes = (LifeProbe(),)
    judges = (LoopEnding,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report what is left pending."""
        assert isinstance(sighting, LoopEnding)
        info = self.loops.of(sighting.loop)
        for task in pending_tasks(sighting.loop):
            yield self._left(task, info)

    @staticmethod
    def _left(task: Any, info: LoopInfo) -> Observation:
        frames, _ = suspended_frames(task.get_coro())
        return Observation(
            Finding(
                PENDING,
                f"task {task.get_name()!r} of {name_coroutine(task)} was still pending when {info} "
                "ended, and was cancelled",
                info,
                None,
                (Stack(f"pending in {info}", describe_frames(frames)), *loop_births(info)),
                PENDING.remedy,
            ),
            identity=_cpython.coroutine_code(task),
        )


def pending_tasks(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """The tasks of a loop that nobody has dealt with: neither done nor asked to end."""
    try:
        tasks = asyncio.all_tasks(loop)
    except RuntimeError:  # the set of tasks kept changing while it was being read
        return []
    left = [
        task
        for task in tasks
        if not task.cancelling() and _cpython.coroutine_code(task) is not None
    ]
    return sorted(left, key=lambda task: str(task.get_name()))
