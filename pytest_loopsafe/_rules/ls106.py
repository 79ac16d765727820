"""LS106: a pass did not finish in time. What does each task wait for, and whose loop is that?"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.primitives import UseProbe
from pytest_loopsafe._probes.uses import PrimitiveUsed
from pytest_loopsafe._rules.base import Detector
from pytest_loopsafe._rules.ls106_servers import Unserved, unserved
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo, state_of
from pytest_loopsafe._words.naming import a, name_coroutine, name_future, name_loop, name_primitive
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import (
    Frame,
    Stack,
    current_stack,
    describe_frames,
    is_own,
    suspended_frames,
)

RULE = Rule(
    "LS106",
    "loop-hang",
    Severity.ERROR,
    "a pass did not finish in time",
    "Look at what each task waits for: a future that only another loop could complete, or a lock "
    "that an earlier loop took and never gave back, has to be made anew in each loop.",
)

_RUN_THE_SERVER = (
    "Nobody answers as long as the server's loop stands still: run the server in the loop that "
    "uses it, or its loop in a thread of its own (run_forever) for as long."
)
_MAX_TASKS = 20


@dataclass(frozen=True)
class _Suspended:
    """Where a task was, and what it waited for, as plain as can be.

    `primitive` or `future` is what it awaited, with its name; `permits` how many were free in that
    primitive; `home` and `state` are the future's loop and what became of it.
    """

    who: str
    frames: tuple[Frame, ...]
    name: str = ""
    primitive: Any = None
    permits: int = 0
    home: asyncio.AbstractEventLoop | None = None
    state: str | None = None


@dataclass(frozen=True)
class PassTimedOut(Sighting):
    """A pass has used up its time: what could be seen at that moment.

    It is noted in a signal handler, which may stand between any two lines of the program's and of
    ours, or in another thread. So it takes no lock, and is judged when the pass rests. What it
    holds until then no longer matters: after a hang no other pass is run.

    `loop` is the one that its thread runs, None where it runs none; `thread` is where the thread
    is, outermost frame first; `unserved` a connection to a server whose loop nobody runs.
    """

    number: int
    seconds: float
    loop: asyncio.AbstractEventLoop | None
    thread: tuple[Frame, ...]
    tasks: tuple[_Suspended, ...]
    unserved: Unserved | None = None

    @classmethod
    def noted(
        cls,
        number: int,
        seconds: float,
        loop: asyncio.AbstractEventLoop | None,
        frame: FrameType | None,
    ) -> PassTimedOut:
        """Note where a pass is whose time is up."""
        thread = current_stack(frame) if frame is not None else ()
        tasks = _tasks_of(loop)[:_MAX_TASKS] if loop is not None else []
        seen = (_looked_at(task) for task in tasks if not _is_only_ours(task))
        return cls(number, seconds, loop, thread, tuple(seen), _unserved(loop))


def _unserved(loop: asyncio.AbstractEventLoop | None) -> Unserved | None:
    with suppress(Exception):  # whatever a loop or a server of another kind has
        return unserved(loop)
    return None


def _is_only_ours(task: Any) -> bool:
    """Whether a task does nothing but wait for one of the user's."""
    code = getattr(task.get_coro(), "cr_code", None)
    if code is None or not is_own(code.co_filename):
        return False
    return not describe_frames(suspended_frames(task.get_coro())[0])


def _looked_at(task: Any) -> _Suspended:
    try:
        return _suspended(task)
    except Exception as error:  # noqa: BLE001 - a task of any kind; and its fault is not the code's
        return _Suspended(f"a task that cannot be looked at ({type(error).__name__})", ())


def _suspended(task: Any) -> _Suspended:
    frames, last = suspended_frames(task.get_coro())
    who = f"task {task.get_name()!r} of {name_coroutine(task)}"
    described = describe_frames(frames)
    primitive = _primitive_in(frames)
    if primitive is not None:
        permits = _cpython.free_permits(primitive)
        return _Suspended(who, described, a(name_primitive(primitive)), primitive, permits)
    future = _cpython.awaited_future(last)
    if future is None:
        return _Suspended(who, described)
    home = _cpython.future_loop(future)
    state = state_of(home) if home is not None else None
    return _Suspended(who, described, name_future(future), home=home, state=state)


@dataclass(frozen=True)
class _Wait:
    """What one task waits for."""

    title: str
    frames: tuple[Frame, ...]
    home: LoopInfo | None
    state: str | None
    foreign: bool
    primitive: Any = None


@dataclass
class _Possession:
    """What is known of a lock's or semaphore's holders.

    `permits` is how many were free when it was first seen; `last` the loop that used it last;
    `holder` the loop that went away with it.
    """

    ref: weakref.ref[Any]
    permits: int
    last: LoopInfo
    holder: LoopInfo | None = None


class Hang(Detector):
    """LS106; for its report it also notes which loop left a lock or a permit taken."""

    rules = (RULE,)
    probes = (UseProbe(),)
    judges = (PassTimedOut, PrimitiveUsed)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lock = threading.RLock()
        self._possessions: dict[int, _Possession] = {}

    def forked(self) -> None:
        """The lock's holder may have been a thread that the child does not have."""
        self._lock = threading.RLock()

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note who uses what; report a pass that timed out."""
        if isinstance(sighting, PassTimedOut):
            yield self._report(sighting)
        elif isinstance(sighting, PrimitiveUsed):
            self._note(sighting.primitive, self.loops.of(sighting.loop))

    def _note(self, primitive: Any, loop: LoopInfo) -> None:
        """At a loop's first use of it: is it still taken from an earlier loop?"""
        if not isinstance(primitive, asyncio.Lock | asyncio.Semaphore):
            return
        key, permits = id(primitive), _cpython.free_permits(primitive)
        with self._lock:
            known = self._possessions.get(key)
            if known is None or known.ref() is not primitive:

                def forget(ref: weakref.ref[Any]) -> None:
                    with self._lock:
                        current = self._possessions.get(key)
                        if current is not None and current.ref is ref:
                            del self._possessions[key]

                with suppress(TypeError):  # a class with __slots__: it has no weak references
                    ref = weakref.ref(primitive, forget)
                    self._possessions[key] = _Possession(ref, permits, loop)
            elif known.last != loop:
                taken = permits < known.permits
                known.holder = (known.holder or known.last) if taken else None
                known.last = loop

    def _holder(self, primitive: Any, permits: int) -> LoopInfo | None:
        """The earlier loop that has what is missing of the permits."""
        with self._lock:
            known = self._possessions.get(id(primitive))
            if known is None or known.ref() is not primitive:
                return None
            return known.holder if permits < known.permits else None

    def _report(self, sighting: PassTimedOut) -> Observation:
        seconds = f"{sighting.seconds:g} s"
        silent = sighting.unserved
        if sighting.loop is None:
            return Observation(
                Finding(
                    RULE,
                    f"pass {sighting.number} did not finish in {seconds}: it blocks in sync code, "
                    f"outside any loop{self._connected(silent)}",
                    None,
                    self.loops.of(silent.loop) if silent is not None else None,
                    (Stack("the pass blocks here", sighting.thread),),
                    _RUN_THE_SERVER
                    if silent
                    else "A blocking call that never returns: see the stack.",
                    home_state="paused" if silent is not None else None,
                ),
                about=(silent.listener,) if silent is not None else (),
                users=(),
            )
        loop = self.loops.of(sighting.loop)
        waits = [self._wait_of(task, loop) for task in sighting.tasks]
        waits.sort(key=lambda wait: not wait.foreign)
        cause = next((wait for wait in waits if wait.foreign), None)
        first = cause or next(iter(waits), None)
        reason = first.title if first is not None else "no task is left in it"
        if cause is not None or (first is not None and first.primitive is not None):
            silent = None  # what is waited for is known
        home = self.loops.of(silent.loop) if silent is not None else None
        state = "paused" if silent is not None else None
        about = (silent.listener,) if silent is not None else ()
        if first is not None and first.primitive is not None:
            about = (first.primitive,)
        stacks = [Stack(wait.title, wait.frames) for wait in waits]
        stacks.append(Stack("the thread of the loop is here", sighting.thread))
        return Observation(
            Finding(
                RULE,
                f"pass {sighting.number} did not finish in {seconds} in {loop}: {reason}"
                f"{self._connected(silent)}",
                loop,
                cause.home if cause else home,
                tuple(stacks),
                _RUN_THE_SERVER if silent is not None else RULE.remedy,
                home_state=cause.state if cause else state,
            ),
            # Whose methods are on the stack now, at rest, had nothing to do with it.
            about=about,
            users=(),
        )

    def _connected(self, silent: Unserved | None) -> str:
        """What a report adds where a connection is not served."""
        if silent is None:
            return ""
        home = name_loop(self.loops.of(silent.loop), "paused")
        who = "a server of" if silent.listener is not silent.loop else "a socket of"
        return (
            f"; there is a connection to {silent.address}, where {who} {home} listens, and nobody "
            "runs that loop"
        )

    def _wait_of(self, task: _Suspended, here: LoopInfo) -> _Wait:
        waits = f"{task.who} waits for {task.name}"
        if task.primitive is not None:
            holder = self._holder(task.primitive, task.permits)
            if holder is not None:
                title = f"{waits} held since {holder}"
                return _Wait(title, task.frames, holder, None, True, task.primitive)
        elif not task.name:
            return _Wait(f"{task.who} runs or is about to", task.frames, None, None, False)
        elif task.home is not None and (home := self.loops.of(task.home)) != here:
            title = f"{waits} of {name_loop(home, task.state)}"
            return _Wait(title, task.frames, home, task.state, True)
        return _Wait(waits, task.frames, None, None, False, task.primitive)


def _tasks_of(loop: asyncio.AbstractEventLoop) -> list[Any]:
    try:
        return sorted(_cpython.all_tasks(loop), key=lambda task: str(task.get_name()))
    except RuntimeError:  # the set of tasks kept changing while it was being read
        return []


def _primitive_in(frames: list[Any]) -> Any:
    """The outermost asyncio primitive in a task's frames: the one that its code named."""
    for frame in frames:
        if any(frame.f_globals is one for one in _cpython.INTERNALS):
            return frame.f_locals.get("self")
    return None
