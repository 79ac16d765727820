"""LS106: a pass did not finish in time. What does each task wait for, and whose loop is that?"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import cpython
from pytest_loopsafe.detectors.base import Detector, name_coroutine, name_future, name_loop
from pytest_loopsafe.detectors.primitives import PrimitiveReleased, PrimitiveUsed, UseProbe
from pytest_loopsafe.findings import Finding, Observation
from pytest_loopsafe.instrumentation import Sighting
from pytest_loopsafe.loops import LoopInfo, LoopRegistry, state_of
from pytest_loopsafe.rules import Rule, Severity
from pytest_loopsafe.stacks import Frame, Stack, describe_frames, suspended_frames

RULE = Rule(
    "LS106",
    "loop-hang",
    Severity.ERROR,
    "a pass did not finish in time",
    "Look at what each task waits for: a future that only another loop could complete, or a lock "
    "that an earlier loop took and never gave back, has to be made anew in each loop.",
)

_MAX_TASKS = 20


@dataclass(frozen=True)
class PassTimedOut(Sighting):
    """A pass has used up its time.

    `loop` is the one that its thread runs, None where it runs none; `thread` is where the thread
    is, outermost frame first.
    """

    number: int
    seconds: float
    loop: asyncio.AbstractEventLoop | None
    thread: tuple[Frame, ...]


@dataclass(frozen=True)
class _Wait:
    """What one task waits for."""

    title: str
    frames: tuple[Frame, ...]
    home: LoopInfo | None
    state: str | None
    foreign: bool


class Hang(Detector):
    """LS106; it also keeps count of who holds which lock or permit, for that report."""

    rules = (RULE,)
    probes = (UseProbe(),)
    judges = (PassTimedOut, PrimitiveUsed, PrimitiveReleased)

    def __init__(self, loops: LoopRegistry) -> None:
        super().__init__(loops)
        self._lock = threading.RLock()
        self._held: dict[int, tuple[weakref.ref[Any], Counter[int], dict[int, LoopInfo]]] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Keep the books; report a pass that timed out."""
        if isinstance(sighting, PassTimedOut):
            yield self._report(sighting)
        elif isinstance(sighting, PrimitiveUsed):
            self._taken(sighting)
        elif isinstance(sighting, PrimitiveReleased):
            self._released(sighting)

    def _taken(self, sighting: PrimitiveUsed) -> None:
        primitive = sighting.primitive
        if sighting.waits or not isinstance(primitive, asyncio.Lock | asyncio.Semaphore):
            return
        key, loop = id(primitive), self.loops.of(sighting.loop)
        with self._lock:
            entry = self._held.get(key)
            if entry is None or entry[0]() is not primitive:

                def forget(ref: weakref.ref[Any]) -> None:
                    with self._lock:
                        current = self._held.get(key)
                        if current is not None and current[0] is ref:
                            del self._held[key]

                try:
                    entry = (weakref.ref(primitive, forget), Counter(), {})
                except TypeError:
                    return
                self._held[key] = entry
            entry[1][loop.number] += 1
            entry[2][loop.number] = loop

    def _released(self, sighting: PrimitiveReleased) -> None:
        with self._lock:
            entry = self._held.get(id(sighting.primitive))
            if entry is None or entry[0]() is not sighting.primitive:
                return
            counts = entry[1]
            number = self.loops.of(sighting.loop).number if sighting.loop is not None else None
            if number not in counts:
                # A waiter that was let in is not in the books: its release settles the oldest
                # entry, so that a hold is only ever claimed where it is certain.
                number = next(iter(counts), None)
            if number is not None:
                counts[number] -= 1
                if counts[number] <= 0:
                    del counts[number]

    def _holder(self, primitive: Any, here: LoopInfo) -> LoopInfo | None:
        with self._lock:
            entry = self._held.get(id(primitive))
            if entry is None or entry[0]() is not primitive or not primitive.locked():
                return None
            return next((entry[2][n] for n in entry[1] if n != here.number), None)

    def _report(self, sighting: PassTimedOut) -> Observation:
        seconds = f"{sighting.seconds:g} s"
        if sighting.loop is None:
            return Observation(
                Finding(
                    RULE,
                    f"pass {sighting.number} did not finish in {seconds}: it blocks in sync code, "
                    "outside any loop",
                    None,
                    None,
                    (Stack("the pass blocks here", sighting.thread),),
                    "A blocking call that never returns: see the stack.",
                )
            )
        loop = self.loops.of(sighting.loop)
        waits = [self._wait_of(task, loop) for task in _tasks_of(sighting.loop)[:_MAX_TASKS]]
        waits.sort(key=lambda wait: not wait.foreign)
        cause = next((wait for wait in waits if wait.foreign), None)
        reason = cause.title if cause else waits[0].title if waits else "no task is left in it"
        stacks = [Stack(wait.title, wait.frames) for wait in waits]
        stacks.append(Stack("the thread of the loop is here", sighting.thread))
        return Observation(
            Finding(
                RULE,
                f"pass {sighting.number} did not finish in {seconds} in {loop}: {reason}",
                loop,
                cause.home if cause else None,
                tuple(stacks),
                RULE.remedy,
                home_state=cause.state if cause else None,
            )
        )

    def _wait_of(self, task: Any, here: LoopInfo) -> _Wait:
        coroutine = task.get_coro()
        frames, last = suspended_frames(coroutine)
        future = cpython.awaited_future(last)
        who = f"task {task.get_name()!r} of {name_coroutine(task)}"
        described = describe_frames(frames)
        primitive = _primitive_in(frames)
        if primitive is not None:
            holder = self._holder(primitive, here)
            what = f"a {type(primitive).__qualname__}"
            if holder is not None:
                return _Wait(
                    f"{who} waits for {what} held since {holder}", described, holder, None, True
                )
            return _Wait(f"{who} waits for {what}", described, None, None, False)
        if future is None:
            return _Wait(f"{who} runs or is about to", described, None, None, False)
        home_loop = cpython.future_loop(future)
        if home_loop is not None and self.loops.of(home_loop) != here:
            home, state = self.loops.of(home_loop), state_of(home_loop)
            title = f"{who} waits for {name_future(future)} of {name_loop(home, state)}"
            return _Wait(title, described, home, state, True)
        return _Wait(f"{who} waits for {name_future(future)}", described, None, None, False)


def _tasks_of(loop: asyncio.AbstractEventLoop) -> list[Any]:
    try:
        return sorted(asyncio.all_tasks(loop), key=lambda task: str(task.get_name()))
    except RuntimeError:  # the set of tasks kept changing while it was being read
        return []


def _primitive_in(frames: list[Any]) -> Any:
    """The outermost asyncio primitive in a task's frames: the one that its code named."""
    for frame in frames:
        if any(frame.f_globals is one for one in cpython.INTERNALS):
            return frame.f_locals.get("self")
    return None
