"""LS103 for what a closed loop takes without a word: a handler, a task factory, an executor.

A loop may be told these after its end, and raises nothing. Code that has kept a loop and prepares
it once more believes that it has prepared the one that runs. Evidence: the loop is closed, another
one runs in this thread, and that one has been given none by the end of the pass.

Left alone: who puts back what the same loop had said that it has, and who tells every loop that
there is: the one that runs will be among them.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.setups import SetUp, SetupProbe, SetUpRead
from pytest_loopsafe._rules.base import Detector, PassEnded, RunEnded, loop_births
from pytest_loopsafe._rules.ls103 import CALL
from pytest_loopsafe._words.finalizers import in_finalizer
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.naming import name_loop
from pytest_loopsafe._words.stacks import Frame, Stack, live_frames, stack_here
from pytest_loopsafe._words.weak import Ref, weak

_REMEDY = (
    "Set it on the loop that runs: asyncio.get_running_loop(), asked for when it is needed and not "
    "kept from an earlier time."
)
_MOST_READ = 1_000
_MOST_LOOPS = 10_000
_MOST_OPEN = 100


@dataclass(frozen=True)
class _Lost:
    """What was set up on a closed loop, while another ran."""

    what: str
    home: LoopInfo
    loop: weakref.ref[Any]
    running: LoopInfo
    frames: tuple[Frame, ...]


class LostSetup(Detector):
    """LS103, when the pass has ended: the loop that runs may be told after the others."""

    rules = (CALL,)
    probes = (SetupProbe(),)
    judges = (SetUp, SetUpRead, PassEnded, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # What a loop said that it has, by the loop's number and the id() of that.
        self._read: dict[tuple[int, int], Ref] = {}
        # Which loops were given what while they were open.
        self._given: dict[tuple[int, str], None] = {}
        self._lost: list[_Lost] = []

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what is set up where; report what reached nothing but a dead loop."""
        if isinstance(sighting, SetUp):
            if sighting.place is None:
                self._set_up(sighting)
        elif isinstance(sighting, SetUpRead):
            key = self.loops.of(sighting.loop).number, id(sighting.thing)
            _put(self._read, key, weak(sighting.thing), _MOST_READ)
        else:
            lost, self._lost = self._lost, []
            for one in lost:
                if (one.running.number, one.what) not in self._given:
                    yield _report(one)

    def _set_up(self, seen: SetUp) -> None:
        home = self.loops.of(seen.loop)
        if not seen.loop.is_closed():
            _put(self._given, (home.number, seen.what), None, _MOST_LOOPS)
            return
        running: asyncio.AbstractEventLoop | None = _cpython.get_running_loop()
        if running is None or running is seen.loop or len(self._lost) >= _MOST_OPEN:
            return
        known = self._read.get((home.number, id(seen.thing)))
        if (known is not None and known() is seen.thing) or in_finalizer(live_frames()):
            return
        self._lost.append(
            _Lost(seen.what, home, weakref.ref(seen.loop), self.loops.of(running), stack_here())
        )


def _report(lost: _Lost) -> Observation:
    method = f"set_{lost.what.replace(' ', '_')}"
    loop = lost.loop()
    return Observation(
        Finding(
            CALL,
            f"{method}() was called in {lost.running} on {lost.home}, which is closed: "
            f"{lost.running} was given no {lost.what}",
            lost.running,
            lost.home,
            (
                Stack(f"{method}() on {name_loop(lost.home, 'closed')}", lost.frames),
                *loop_births(lost.home, lost.running),
            ),
            _REMEDY,
            home_state="closed",
        ),
        about=(loop,) if loop is not None else (),
        users=(),
    )


def _put(known: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    if len(known) >= most and key not in known:
        known.pop(next(iter(known)))
    known[key] = value
