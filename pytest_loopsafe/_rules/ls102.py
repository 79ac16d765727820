"""LS102 and LS107: a Lock, Event, Condition, Semaphore, Queue or Barrier in two loops.

A primitive binds to a loop only when it must make a waiter. Until then it passes through any
number of loops, and then fails in production, under contention. So two things are recorded: the
moment a bound primitive is used elsewhere (LS102), and the loop of each *use* (LS107).

A use is a call that could have had to wait (`pytest_loopsafe._probes.primitives`). Calls such as
``Queue.put_nowait``, ``Event.set`` and ``release`` never bind anything.
Nor does ``put`` on a queue without a limit. An Event that is set once for good and
only asked from then on is a plain flag, and safe: its ``wait`` counts in a loop only if it had to
wait there, or if the event was set or cleared in that loop too.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.primitives import (
    BindingProbe,
    EventChanged,
    PrimitiveRefused,
    PrimitiveUsed,
    UseProbe,
)
from pytest_loopsafe._rules.base import Detector, a, loop_births, name_loop, name_primitive
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo, state_of
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, live_frames, stack_here
from pytest_loopsafe._words.ways import way_here

FOREIGN = Rule(
    "LS102",
    "foreign-primitive",
    Severity.ERROR,
    "a primitive bound to another loop was used",
    "Make it inside the loop that uses it, or keep one for each loop in a WeakKeyDictionary "
    "keyed by the loop itself (never by id(loop)).",
)
SHARED = Rule(
    "LS107",
    "shared-primitive",
    Severity.ERROR,
    "a primitive was used in two loops",
    "Nothing raised only because nobody had to wait. Make it inside the loop that uses it, or "
    "keep one for each loop in a WeakKeyDictionary keyed by the loop itself (never by id(loop)).",
)


@dataclass
class _Uses:
    """One primitive's uses: the first in each loop (by number), and where an Event changed."""

    first: dict[int, tuple[LoopInfo, tuple[Frame, ...]]] = field(default_factory=dict)
    changed_in: set[int] = field(default_factory=set)


class Primitives(Detector):
    """LS102 and LS107."""

    rules = (FOREIGN, SHARED)
    probes = (BindingProbe(), UseProbe())
    judges = (PrimitiveRefused, PrimitiveUsed, EventChanged)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lock = threading.RLock()
        self._uses: dict[int, tuple[weakref.ref[Any], _Uses]] = {}

    def forked(self) -> None:
        """The lock's holder may have been a thread that the child does not have."""
        self._lock = threading.RLock()

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report a refusal at once, and a use once an earlier loop has used the same primitive."""
        if isinstance(sighting, PrimitiveRefused):
            loop = self.loops.of(sighting.loop) if sighting.loop is not None else None
            yield self._foreign(sighting.primitive, loop, sighting.home, sighting.error)
        elif isinstance(sighting, EventChanged):
            self._of(sighting.event).changed_in.add(self.loops.of(sighting.loop).number)
        elif isinstance(sighting, PrimitiveUsed):
            yield from self._used(sighting)

    def _used(self, sighting: PrimitiveUsed) -> Iterator[Observation]:
        primitive, loop = sighting.primitive, self.loops.of(sighting.loop)
        uses = self._of(primitive)
        if (
            isinstance(primitive, asyncio.Event)
            and not sighting.waits
            and loop.number not in uses.changed_in
        ):
            return
        home = _cpython.bound_loop(primitive)
        if home is not None and home is not sighting.loop:
            if not sighting.waits:  # else asyncio is about to refuse, and the binding probe sees it
                yield self._foreign(primitive, loop, home, None)
        elif loop.number not in uses.first:
            here = stack_here()
            if uses.first:
                yield self._shared(primitive, loop, here, *next(iter(uses.first.values())))
            uses.first[loop.number] = (loop, here)

    def _of(self, primitive: Any) -> _Uses:
        key = id(primitive)
        with self._lock:
            entry = self._uses.get(key)
            if entry is not None and entry[0]() is primitive:
                return entry[1]
            uses = _Uses()

            def forget(ref: weakref.ref[Any]) -> None:
                with self._lock:
                    current = self._uses.get(key)
                    if current is not None and current[0] is ref:
                        del self._uses[key]

            with suppress(TypeError):  # a subclass with __slots__: it cannot be recognised later
                self._uses[key] = (weakref.ref(primitive, forget), uses)
            return uses

    def _foreign(
        self,
        primitive: Any,
        loop: LoopInfo | None,
        home_loop: asyncio.AbstractEventLoop,
        error: BaseException | None,
    ) -> Observation:
        home, state = self.loops.of(home_loop), state_of(home_loop)
        quietly = "" if error else "; nobody had to wait, so asyncio said nothing"
        earlier = self._of(primitive).first.get(home.number)
        return Observation(
            Finding(
                FOREIGN,
                f"{a(name_primitive(primitive))} bound to {name_loop(home, state)} was used in "
                f"{name_loop(loop)}{quietly}",
                loop,
                home,
                (
                    Stack(f"used in {name_loop(loop)}", stack_here()),
                    *((Stack(f"first used in {home}", earlier[1]),) if earlier else ()),
                    *loop_births(home, loop),
                ),
                FOREIGN.remedy,
                home_state=state,
            ),
            error,
            way_here(live_frames(), type(error)) if error else None,
            about=(primitive,),
        )

    def _shared(
        self,
        primitive: Any,
        loop: LoopInfo,
        here: tuple[Frame, ...],
        earlier: LoopInfo,
        there: tuple[Frame, ...],
    ) -> Observation:
        return Observation(
            Finding(
                SHARED,
                f"one {name_primitive(primitive)} was used in {earlier} and in {loop}: it binds "
                "to the first loop in which a task has to wait for it, and raises in the others",
                loop,
                earlier,
                (
                    Stack(f"used in {loop}", here),
                    Stack(f"first used in {earlier}", there),
                    *loop_births(earlier, loop),
                ),
                SHARED.remedy,
            ),
            about=(primitive,),
        )
