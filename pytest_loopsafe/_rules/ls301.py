"""LS301: tasks that were pending when their loop ended.

``asyncio.run()`` cancels what is left. What becomes of it then is another matter (LS207).

Left out is a task by which a test framework runs tests: whoever runs the loop for pytest has made
it for itself, with nobody's code in between (anyio's plugin has such a task for each of its loops).
Nobody who writes a test can end it.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Iterator
from types import CoroutineType, FrameType
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
from pytest_loopsafe._words.whose import TERRITORY, Whose

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
        # By its coroutine, who started a task; None for what a test framework runs tests by.
        self._starters: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()

    def follow(self, elder: Self) -> None:
        """Know who started what is still there."""
        self._starters = elder._starters

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what a test framework starts; report what is left pending."""
        if isinstance(sighting, TaskStarted):
            maker = self.loops.maker()
            if _runs_tests():
                self._starters[sighting.coroutine] = None
            elif maker is not None:
                self._starters[sighting.coroutine] = maker.name
        elif isinstance(sighting, LoopEnding):
            info = self.loops.of(sighting.loop)
            for task in pending_tasks(sighting.loop):
                coroutine = task.get_coro()
                is_plain = type(coroutine) is CoroutineType  # else its __hash__ is somebody's
                starter = self._starters.get(coroutine, info.maker) if is_plain else info.maker
                if starter is not None or not is_plain or coroutine not in self._starters:
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


_HOOKS = ("pytest_fixture_setup", "pytest_pyfunc_call")
_OUTSIDE = frozenset({Whose.ASYNCIO, Whose.OURS, Whose.HOOK, Whose.LAUNCHER})


def _runs_tests() -> bool:
    """Whether the task that is being made is one by which a test framework runs tests.

    So it is where pytest's own frames are reached without any of the user's, and where all code
    within the loop is of files that are also outside of it, with whoever runs the loop for pytest.
    What another library starts by itself, from a callback, is not. The framework's own frames may
    be the user's, who develops it: the module that pytest calls has a hook that runs tests.
    """
    inside: set[str] = set()
    outside: set[str] = set()
    users: FrameType | None = None  # the outermost
    is_outside = False
    whose = TERRITORY.view.whose
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        who = whose[file]
        if who is Whose.PYTEST:
            return bool(inside) and inside <= outside and (users is None or _has_hook(users))
        if who in _OUTSIDE:
            is_outside = is_outside or bool(inside)  # the loop itself is passed
        else:
            (outside if is_outside else inside).add(file)
            if who is Whose.USER:
                users = frame
        frame = frame.f_back
    return False


def _has_hook(frame: FrameType) -> bool:
    return any(dict.__contains__(frame.f_globals, name) for name in _HOOKS)
