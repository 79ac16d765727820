"""LS306: a queue's items were still unread when its loop ended, or when it was replaced.

What the user's own code has put in is counted at the loop's end; whether it was lost is judged when
all rests. A queue that somebody reads, or that a global holds, is there to be read. So is one that
an object had which has another by now: then its items went with it. One that only collects (filled,
counted, dropped with what made it) is not. Items that are mere wake-ups are no work; nor is the
stock of a pool, which is all there again after some of it was out.

Lost are those items alone that are still there: as many as were left, less what has been taken out
since. While the queue lives, whoever runs the same code next may read what the last loop has left;
and what has a limit and lets its oldest item go for the newest is there to be looked at.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Self

from pytest_loopsafe import _cpython
from pytest_loopsafe._bytecode.room import drops_oldest
from pytest_loopsafe._graph.kinds import is_a
from pytest_loopsafe._graph.links import attributes
from pytest_loopsafe._graph.reliance import is_work, unread
from pytest_loopsafe._graph.starters import starters
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopEnding
from pytest_loopsafe._probes.primitives import QueueFilled, UseProbe
from pytest_loopsafe._probes.stock import Puts, Stock
from pytest_loopsafe._probes.uses import PrimitiveUsed
from pytest_loopsafe._rules.base import Detector, PassEnded, RunEnded, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.naming import name_primitive
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, is_stdlib, stack_here
from pytest_loopsafe._words.weak import Ref

RULE = Rule(
    "LS306",
    "queue-left-unread",
    Severity.WARNING,
    "a queue's items were still unread when its loop ended",
    "Drain it before the loop ends: `await queue.join()`, then stop the reader and await it.",
)


_MAX_LEFT = 1_000


@dataclass
class _Known:
    """A queue: who fills it, whose methods were at it, and in which loops it has had a reader.

    `taken` is how many items have been taken out by the last look, more or less by one number that
    stays the same; None where that cannot be told.
    """

    ref: weakref.ref[Any]
    puts: Puts = field(default_factory=Puts)
    taken: int | None = None
    has_limit: bool = False
    codes: set[CodeType] = field(default_factory=set)
    filled: dict[int, tuple[Frame, ...]] = field(default_factory=dict)
    stocks: dict[int, Stock] = field(default_factory=dict)
    fillers: dict[int, Ref] = field(default_factory=dict)
    read_in: set[int] = field(default_factory=set)

    def look(self) -> None:
        """Count what has been taken out by now."""
        queue = self.ref()
        if queue is not None:
            items = _cpython.queued(queue)
            self.taken = self.puts.made - items if items is not None else None
            self.has_limit = _cpython.room_in(queue, 0) > 0

    def is_ring(self) -> bool:
        """Whether nobody waits for what is in it, and the oldest makes room for the newest."""
        return self.has_limit and not self.read_in and any(map(drops_oldest, self.codes))


@dataclass
class _Left:
    """What was unread when a loop ended.

    Attributes:
        known: the queue.
        name: what it is called.
        items: how many.
        things: tells them, in a queue of somebody's own kind.
        taken: how many had been taken out before.
        loop: the loop.
        holders: the fillers that had it in an attribute, each with the attribute's name.
        owner: how a global reached it, when that was last asked.
    """

    known: _Known
    name: str
    items: int
    things: Stock | None
    taken: int | None
    loop: LoopInfo
    holders: tuple[tuple[Ref, str], ...]
    owner: str | None = None

    def still_there(self) -> int:
        """How many of them nobody has taken out.

        Who takes the newest first, or the most urgent, may have left these for good and taken
        others: so many are there at least.
        """
        queue, taken = self.known.ref(), self.known.taken
        if self.things is not None and queue is not None:
            return sum(map(self.things.has, unread(queue)))
        if self.taken is None or taken is None or taken < self.taken:
            return self.items  # something was put in past all that counts
        items = max(self.items - (taken - self.taken), 0)
        return items if queue is None or is_work(unread(queue)[:items]) else 0


class LeftQueues(Detector):
    """LS306, judged at the end of the run: a later loop may have read what was left."""

    rules = (RULE,)
    probes = (UseProbe(), LifeProbe())
    judges = (QueueFilled, PrimitiveUsed, LoopEnding, PassEnded, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._known: dict[int, _Known] = {}
        self._left: list[_Left] = []
        self._owned = 0

    def follow(self, elder: Self) -> None:
        """Know the queues that are still there."""
        self._known = elder._known

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note who fills and who reads; count at the loop's end; report at the run's."""
        if isinstance(sighting, QueueFilled):
            frames = stack_here()
            if _by_user(frames):
                known = self._of(sighting.queue)
                known.puts = sighting.puts
                number = self.loops.of(sighting.loop).number
                known.filled.setdefault(number, frames)
                known.stocks.setdefault(number, sighting.stock)
                for starter in starters():
                    known.codes.add(starter.code)
                    bearer = starter.bearer()
                    if bearer is not None:
                        known.fillers.setdefault(id(bearer), starter.bearer)
        elif isinstance(sighting, PrimitiveUsed):
            if sighting.method == "get":
                self._of(sighting.primitive).read_in.add(self.loops.of(sighting.loop).number)
        elif isinstance(sighting, LoopEnding):
            self._count(self.loops.of(sighting.loop))
        else:
            self._own()
            if isinstance(sighting, RunEnded):
                yield from (self._unread(left) for left in self._left if self._is_lost(left))

    def _of(self, queue: Any) -> _Known:
        known = self._known.get(id(queue))
        if known is None or known.ref() is not queue:
            known = self._known[id(queue)] = _Known(weakref.ref(queue, self._forget(id(queue))))
        return known

    def _forget(self, key: int) -> Callable[[Any], None]:
        """What is known of a queue goes with it, but for what it left."""

        def forget(gone: Any) -> None:
            if key in self._known and self._known[key].ref is gone:
                del self._known[key]

        return forget

    def _count(self, info: LoopInfo) -> None:
        for known in list(self._known.values()):
            known.look()
            queue = known.ref()
            if queue is None or info.number not in known.filled:
                continue
            items = unread(queue)
            back = known.stocks[info.number].is_all_of(items)
            if is_work(items) and not back and len(self._left) < _MAX_LEFT:
                holders = tuple(
                    (ref, name)
                    for ref in known.fillers.values()
                    for name, value in attributes(ref()).items()
                    if value is queue
                )
                things, name = _told(queue, items), name_primitive(queue)
                left = _Left(known, name, len(items), things, known.taken, info, holders)
                self._left.append(left)

    def _own(self) -> None:
        """At rest: ask who holds what was left since the last rest."""
        for left in self._left[self._owned :]:
            queue = left.known.ref()
            if queue is not None:
                left.owner = self.graph.path((queue,))
        self._owned = len(self._left)

    def _is_lost(self, left: _Left) -> bool:
        queue = left.known.ref()
        left.known.look()
        left.items = left.still_there()
        if not left.items:
            return False  # a later loop has read it
        if queue is not None and self.loops.rerun_since(left.loop) is None:
            return False  # nobody has come to it yet
        if left.known.is_ring():
            return False
        if queue is None and left.owner is None:
            left.owner = self._replaced(left)
        return left.owner is not None or left.loop.number in left.known.read_in

    def _replaced(self, left: _Left) -> str | None:
        """The attribute in which another queue is by now, of an object that lives on."""
        for ref, name in left.holders:
            holder = ref()
            if holder is not None and is_a(attributes(holder).get(name), asyncio.Queue):
                path = self.graph.path((holder,))
                return f"{path}.{name}" if path is not None else None
        return None

    def _unread(self, left: _Left) -> Observation:
        whose = f" {left.owner}" if left.owner else ""
        what = f"of the {left.name}{whose}"
        one = left.items == 1
        items = f"1 item {what} was" if one else f"{left.items} items {what} were"
        frames = left.known.filled[left.loop.number]
        return Observation(
            Finding(
                RULE,
                f"{items} still unread when {left.loop} ended, and nobody read "
                f"{'it' if one else 'them'} later: that work is lost",
                left.loop,
                None,
                (Stack(f"it was filled here in {left.loop}", frames), *loop_births(left.loop)),
                RULE.remedy,
                owner=left.owner,
            )
        )


def _told(queue: Any, items: tuple[Any, ...]) -> Stock | None:
    """What tells items where a queue keeps them in its own way: how many says nothing of a set."""
    if _cpython.queued(queue) is not None:
        return None
    things = Stock()
    for item in items:
        things.note(item)
    return things


def _by_user(frames: tuple[Frame, ...]) -> bool:
    """Whether the user's own code puts things in, not a library for itself."""
    caller = next((frame for frame in reversed(frames) if not is_stdlib(frame.file)), None)
    return caller is not None and not caller.library
