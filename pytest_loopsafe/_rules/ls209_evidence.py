"""The evidence for LS209: whether a later loop was to have a set-up, and what says that it has it.

Of the functions that were running when it was made, one within the other, the innermost one which
ran again in a later loop had the choice. From CPython 3.12 on it is exactly known which ran again,
and for which object (`pytest_loopsafe._probes.reruns`). What this function looks at before it comes
to the call, and bars the way now, says that the set-up is done where it is

-   a flag that one of these functions writes (only asked and written, in whatever form),
-   what holds the set-up, or the object that made it: a cached holder.

A flag that nobody of them writes is a setting, and what is read besides stands for itself: where
such a thing bars the way too, it is not decidable, and nothing is said. Nor does it count where the
loop itself is made behind the same flag: then the later loops are other code's.

On 3.11 it is not known what ran again: there a later loop has to have run what the first one ran,
and what any of the functions looks at counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe._bytecode.places import changed_by, name_of
from pytest_loopsafe._graph import guards
from pytest_loopsafe._graph.guards import Guard
from pytest_loopsafe._graph.kinds import entries_of, is_a
from pytest_loopsafe._graph.starters import Bearers, Starter
from pytest_loopsafe._graph.view import Graph
from pytest_loopsafe._probes.reruns import Reruns
from pytest_loopsafe._words.loops import LoopInfo, LoopRegistry
from pytest_loopsafe._words.stacks import Frame
from pytest_loopsafe._words.weak import Ref


@dataclass
class Setup:
    """What was set up on a loop.

    Attributes:
        name: what a report calls it.
        kind: the ``id()`` of what is the same each time that it is set up: its code, or its class.
        loop: the loop.
        frames: where it was set up.
        chain: the user's functions that were running, the innermost first: of those within the
            loop, where it was running.
        thing: the handler, factory or executor.
        parts: that, whose method it is, and the objects that made it.
        beside: the kinds of all that was in this place in this loop.
        birth: those that were running when the loop was made, where it was prepared from outside.
        reruns: what ran again.
        needs_thread: whether no other thread's loop can have it.
        is_down: whether it was taken down, or replaced.
        is_over: whether its loop was closed.
    """

    name: str
    kind: int
    loop: LoopInfo
    frames: tuple[Frame, ...]
    chain: tuple[Starter, ...]
    thing: Ref
    parts: tuple[Ref, ...]
    beside: frozenset[int]
    birth: tuple[Starter, ...]
    reruns: Reruns
    needs_thread: bool = False
    is_down: bool = False
    is_over: bool = False


class Evidence:
    """Judges one set-up that was not made again, when all rests."""

    def __init__(self, graph: Graph, loops: LoopRegistry, setup: Setup) -> None:
        self._graph = graph
        self._loops = loops
        self._setup = setup
        self._objects = Bearers(graph.is_kept)

    def found(self) -> Iterator[tuple[LoopInfo, str]]:
        """A loop that ran without it and what says that it is done; nothing where none does."""
        chain, ran = self._setup.chain, self._ran_again()
        if ran is None:
            later, skipped, choosing = self._loops.rerun_since(self._setup.loop), chain, chain
        elif ran < len(chain):
            later, skipped, choosing = self._later(chain[ran]), chain[:ran], chain[ran : ran + 1]
        else:
            return
        if later is not None and not self._is_spared(later):
            holder = guards.cache_of(skipped) or guards.kept_result(skipped, self._path)
            owner = holder or next(self._barred_by(choosing), None)
            if owner is not None:
                yield later, owner

    def _is_spared(self, later: LoopInfo) -> bool:
        return self._setup.needs_thread and later.thread != self._setup.loop.thread

    def _ran_again(self) -> int | None:
        """Which function ran again, the innermost; their number for none, None if nobody saw."""
        for index, starter in enumerate(self._setup.chain):
            last = self._setup.reruns.last(starter.code, None)
            if last is None:
                return None
            if last > self._setup.loop.number:
                return index
        return len(self._setup.chain)

    def _later(self, starter: Starter) -> LoopInfo | None:
        """The last loop in which it ran again, or which it prepared."""
        number = self._setup.reruns.last(starter.code, None)
        return next((one for one in self._loops.made() if one.number == number), None)

    def _barred_by(self, choosing: tuple[Starter, ...]) -> Iterator[str]:
        for starter in choosing:
            barring = list(guards.guards_of(starter, self._bearers(starter), self._path))
            says_done = [self._holds(one.value) or self._is_written(one) for one in barring]
            if barring and all(says_done) and not any(map(self._bars_the_loop, barring)):
                yield barring[0].path

    def _bearers(self, starter: Starter) -> tuple[Any, ...]:
        """The object as whose method it ran again; nothing where that was another one's."""
        bearer = self._objects.of(starter)
        if bearer is None:
            return ()
        last = self._setup.reruns.last_of(starter.code, bearer, None)
        return (bearer,) if last is None or last > self._setup.loop.number else ()

    def _path(self, thing: Any) -> str:
        return self._graph.path((thing,)) or f"a {type(thing).__qualname__}"

    def _bars_the_loop(self, guard: Guard) -> bool:
        """Whether it is in the way to the making of the loop, too."""
        return any(
            other.place == guard.place and other.value is guard.value
            for starter in self._setup.birth
            for other in guards.guards_of(starter, self._bearers(starter), self._path)
        )

    def _holds(self, value: Any) -> bool:
        """Whether something is the set-up or whoever made it, or has that in it."""
        things = [thing for ref in self._setup.parts if (thing := ref()) is not None]
        contents = tuple(dict.values(value)) if is_a(value, dict) else entries_of(value)
        return any(one is thing for one in (value, *contents) for thing in things)

    def _is_written(self, guard: Guard) -> bool:
        """Whether it is a flag, and says that something was done."""
        if not guard.is_flag or not (guard.is_set or type(guard.value) is bool):
            return False
        return any(name_of(guard.place) in changed_by(one.code) for one in self._setup.chain)
