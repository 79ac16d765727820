"""LS305: the code installs a loop for its thread, and leaves it there or loses it to a run.

Evidence: the last call of ``set_event_loop``, asyncio's or the policy's, in a thread was the user's
own and gave a loop; at the end of the run that thread lives, and the loop does not run in it.

Or a run has ended, which takes away whatever was installed, and ``get_event_loop()`` has failed
since, or given another loop: that of who had installed one by hand (or had had the policy make one)
and has not closed it, or the one that the policy would have made for the main thread. Who makes a
loop of one's own then, or names the error right where it asks, is prepared.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any

from pytest_loopsafe._probes.births import LoopBorn
from pytest_loopsafe._probes.handlers import guards_nothing_else
from pytest_loopsafe._probes.installing import (
    InstallProbe,
    LoopGot,
    LoopMissed,
    LoopSet,
    asks_for_loop,
)
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._rules.base import Detector, RunEnded, loop_births
from pytest_loopsafe._rules.ls103 import next_to_the_call
from pytest_loopsafe._words.finalizers import in_finalizer
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo, Maker
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import (
    Frame,
    Stack,
    current_stack,
    is_stdlib,
    live_frames,
    stack_here,
)
from pytest_loopsafe._words.ways import Fate, Way, way_here

SET = Rule(
    "LS305",
    "loop-set-globally",
    Severity.WARNING,
    "the code installs a loop for its thread, and leaves it there or loses it to a run",
    "Let asyncio.run() or asyncio.Runner install the loop, or take it back when it ends: "
    "`finally: asyncio.set_event_loop(None)`.",
)
_TAKEN_AWAY = (
    "asyncio.run() and asyncio.Runner end with set_event_loop(None), whatever was installed. Keep "
    "the loop and hand it on instead of asking for it, or run all of it in one asyncio.run()."
)


_MOST_OPEN = 100


@dataclass(frozen=True)
class _Installed:
    """A loop that was installed for a thread.

    Attributes:
        by: how it was set by hand; None where the policy that was asked for one did it.
        serves_all: it was installed before the first pass.
        maker: who did it, where that is known: a test, or a fixture.
    """

    ref: weakref.ref[Any]
    info: LoopInfo
    frames: tuple[Frame, ...]
    by: str | None
    serves_all: bool
    maker: Maker | None


@dataclass(frozen=True)
class _Taken:
    """A run has ended that took away what was installed, where anything was."""

    installed: _Installed | None
    frames: tuple[Frame, ...]


@dataclass(eq=False)
class _Missed:
    """Somebody asked for the loop and got none, and may make one instead."""

    thread: int
    caller: CodeType
    has_made_one: bool = False


class LoopSetGlobally(Detector):
    """LS305; what is left, at the end of the run: a loop may serve several passes."""

    rules = (SET,)
    probes = (InstallProbe(),)
    judges = (LoopSet, LoopGot, LoopMissed, LoopBorn, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # By the thread's identifier.
        self._installed: dict[int, _Installed] = {}
        self._taken: dict[int, _Taken] = {}
        self._made_by_policy: dict[int, int] = {}
        self._missed: list[_Missed] = []

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note who installs what and what takes it away; report who misses it, and what is left."""
        if isinstance(sighting, RunEnded):
            yield from self._left_set()
        elif isinstance(sighting, LoopSet):
            self._set(sighting)
        elif isinstance(sighting, LoopGot):
            yield from self._got(sighting.loop)
        elif isinstance(sighting, LoopMissed):
            yield from self._failed(sighting)
        elif isinstance(sighting, LoopBorn):
            if asks_for_loop():
                number = self.loops.of(sighting.loop).number
                self._made_by_policy[threading.get_ident()] = number
            callers = [frame.f_code for frame in live_frames()] if self._missed else []
            for missed in self._missed:
                is_here = missed.thread == threading.get_ident()
                if is_here and any(missed.caller is one for one in callers):
                    missed.has_made_one = True

    def _set(self, seen: LoopSet) -> None:
        ident, frames = threading.get_ident(), current_stack()
        by_user = bool(frames) and not frames[-1].library
        if seen.loop is None:
            installed = self._installed.pop(ident, None)
            self._taken.pop(ident, None)
            if seen.by_runner and not seen.is_ours:
                self._taken[ident] = _Taken(installed, frames)
        elif by_user:
            self._taken.pop(ident, None)
            by = "the policy's " if seen.by_policy else "asyncio."
            self._installed[ident] = self._as_installed(seen.loop, frames, f"{by}set_event_loop()")
        elif not seen.by_runner:
            self._taken.pop(ident, None)

    def _as_installed(self, loop: Any, frames: tuple[Frame, ...], by: str | None) -> _Installed:
        info, serves_all = self.loops.of(loop), self.loops.pass_number == 0
        maker = self.loops.maker()
        return _Installed(weakref.ref(loop), info, frames, by, serves_all, maker)

    def _got(self, loop: Any) -> Iterator[Observation]:
        ident = threading.get_ident()
        installed = self._as_installed(loop, current_stack(), None)
        if self._made_by_policy.pop(ident, None) != installed.info.number:
            return
        taken = self._taken.pop(ident, None)
        if taken is not None and taken.installed is not None and self._is_open(taken.installed):
            yield self._lost(taken, f"asyncio.get_event_loop() made {installed.info}")
        if ident not in self._installed:
            self._installed[ident] = installed

    def _failed(self, seen: LoopMissed) -> Iterator[Observation]:
        taken, frames = self._taken.get(threading.get_ident()), live_frames()
        if taken is None or not frames or in_finalizer(frames) or len(self._missed) >= _MOST_OPEN:
            return
        if not self._is_open(taken.installed) if taken.installed else not _would_be_made(taken):
            return
        missed = _Missed(threading.get_ident(), frames[-1].f_code)
        self._missed.append(missed)
        way = way_here(frames, type(seen.error), seen.let_go)
        yield replace(
            self._lost(taken, "asyncio.get_event_loop() failed"),
            error=seen.error,
            way=way,
            excuse=functools.partial(self._is_prepared, missed, way),
            at_rest=lambda: True,
        )

    def _is_prepared(self, missed: _Missed, way: Way, fate: Fate) -> bool:
        self._missed.remove(missed)
        return not fate.left and (
            missed.has_made_one
            or any(
                fate.narrow is not False or guards_nothing_else(point)
                for point in next_to_the_call(way)
                if point.code is fate.stayed_in
            )
        )

    def _is_open(self, installed: _Installed) -> bool:
        return not self.loops.is_closed(installed.info)

    def _lost(self, taken: _Taken, what: str) -> Observation:
        info, stacks = None, [Stack(what, stack_here())]
        message = f"{what}: a run that had ended has left none to the main thread"
        if taken.installed is not None:
            info = taken.installed.info
            by = taken.installed.by or "the policy"
            message = f"{what}: {info}, installed by {by}, was taken away by a run that ended"
            stacks.append(Stack(f"{info} was installed here", taken.installed.frames))
        stacks.append(Stack("the run that took it away ended here", taken.frames))
        return Observation(
            Finding(SET, message, None, info, (*stacks, *loop_births(info)), _TAKEN_AWAY)
        )

    def _left_set(self) -> Iterator[Observation]:
        alive = {thread.ident for thread in threading.enumerate()}
        self.waits = False
        for ident, installed in self._installed.items():
            loop = installed.ref()
            if ident not in alive or (loop is not None and loop.is_running()):
                continue  # its thread is gone, or it is the loop of a thread of its own
            if installed.by is None or installed.serves_all:
                continue
            if self._may_take_back(installed.maker):
                self.waits = True
                continue
            info = installed.info
            yield Observation(
                Finding(
                    SET,
                    f"{info} was installed with {installed.by} and left installed",
                    None,
                    info,
                    (Stack("it was installed here", installed.frames), *loop_births(info)),
                    SET.remedy,
                )
            )

    def _may_take_back(self, maker: Maker | None) -> bool:
        """Whether it was a fixture's doing that has not been torn down yet."""
        return maker is not None and not maker.is_over and maker.name != self.loops.test


def _would_be_made(taken: _Taken) -> bool:
    """Whether the policy would have made a loop here, had the user's own code not begun the run."""
    is_main = threading.current_thread() is threading.main_thread()
    outside = next((one for one in reversed(taken.frames) if not is_stdlib(one.file)), None)
    by_user = outside is not None and not outside.library
    return is_main and by_user and sys.version_info < (3, 14)
