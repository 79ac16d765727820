"""LS306: a queue's items were still unread when its loop ended."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopEnding
from pytest_loopsafe._probes.primitives import PrimitiveUsed, QueueFilled, UseProbe
from pytest_loopsafe._rules.base import Detector, RunEnded, loop_births, name_primitive
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, is_stdlib, stack_here

RULE = Rule(
    "LS306",
    "queue-left-unread",
    Severity.WARNING,
    "a queue's items were still unread when its loop ended",
    "Drain it before the loop ends: `await queue.join()`, then stop the reader and await it.",
)


@dataclass
class _Known:
    """A queue: who fills it, and in which loops it has had a reader."""

    ref: weakref.ref[Any]
    filled: dict[int, tuple[Frame, ...]]
    read_in: set[int]


@dataclass(frozen=True)
class _Left:
    ref: weakref.ref[Any]
    name: str
    items: int
    loop: LoopInfo
    frames: tuple[Frame, ...]
    owner: str | None


class LeftQueues(Detector):
    """LS306, judged at the end of the run: a later loop may have read what was left.

    A queue that somebody reads, or that a global holds, is there to be read. One that only
    collects (filled, counted, dropped) is not.
    """

    rules = (RULE,)
    probes = (UseProbe(), LifeProbe())
    judges = (QueueFilled, PrimitiveUsed, LoopEnding, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._known: dict[int, _Known] = {}
        self._left: list[_Left] = []

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note who fills and who reads; look at the loop's end; report at the run's."""
        if isinstance(sighting, QueueFilled):
            frames = stack_here()
            if _by_user(frames):
                known = self._of(sighting.queue)
                known.filled.setdefault(self.loops.of(sighting.loop).number, frames)
        elif isinstance(sighting, PrimitiveUsed):
            if sighting.method == "get":
                self._of(sighting.primitive).read_in.add(self.loops.of(sighting.loop).number)
        elif isinstance(sighting, LoopEnding):
            self._look(self.loops.of(sighting.loop))
        elif isinstance(sighting, RunEnded):
            for left in self._left:
                queue = left.ref()
                if queue is None or queue.qsize():
                    yield self._unread(left)

    def _of(self, queue: Any) -> _Known:
        known = self._known.get(id(queue))
        if known is None or known.ref() is not queue:
            known = self._known[id(queue)] = _Known(weakref.ref(queue), {}, set())
        return known

    def _look(self, info: LoopInfo) -> None:
        for known in list(self._known.values()):
            queue = known.ref()
            if queue is None or info.number not in known.filled or not queue.qsize():
                continue
            owner = self.graph.path((queue,))
            if owner is not None or info.number in known.read_in:
                name, items = name_primitive(queue), queue.qsize()
                frames = known.filled[info.number]
                self._left.append(_Left(known.ref, name, items, info, frames, owner))

    def _unread(self, left: _Left) -> Observation:
        items = "1 item" if left.items == 1 else f"{left.items} items"
        whose = f" {left.owner}" if left.owner else ""
        return Observation(
            Finding(
                RULE,
                f"{items} of the {left.name}{whose} were still unread when {left.loop} ended, and "
                "nobody read them later: that work is lost",
                left.loop,
                None,
                (Stack(f"it was filled here in {left.loop}", left.frames), *loop_births(left.loop)),
                RULE.remedy,
                owner=left.owner,
            )
        )


def _by_user(frames: tuple[Frame, ...]) -> bool:
    """Whether the user's own code puts things in, not a library for itself."""
    caller = next((frame for frame in reversed(frames) if not is_stdlib(frame.file)), None)
    return caller is not None and not caller.library
