"""LS206: dead loops accumulate.

Evidence: at the end of the run, after a collection of the whole heap, two or more closed loops that
are not the last of their threads are held by one and the same place, and one was made after the
end of another: each pass leaves one more. A deque or ``lru_cache`` with a limit drops its oldest,
and so does code that takes something out of a container where that is long, so nothing accumulates
there; nor where the newest are held, and as many older ones or more have been let go.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

from pytest_loopsafe._graph.guards import keeps_short
from pytest_loopsafe._graph.kinds import is_a
from pytest_loopsafe._graph.links import LRU_CACHE
from pytest_loopsafe._graph.owners import Owner
from pytest_loopsafe._ledger.dead_loops import last_of_threads
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe
from pytest_loopsafe._rules.base import Detector, RunEnded, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity

RETAINED = Rule(
    "LS206",
    "loop-retention",
    Severity.WARNING,
    "dead loops accumulate",
    "Let an entry go with its loop: remove it when the loop ends, or key it by the loop in a "
    "WeakKeyDictionary whose values do not refer to the loop. A value that does (a lock that had "
    "a waiter, an open client) keeps its own key alive.",
)

_MAX_LOOPS = 4


class LoopRetention(Detector):
    """LS206."""

    rules = (RETAINED,)
    probes = (LifeProbe(),)
    judges = (RunEnded,)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Group the dead loops by the place that holds them."""
        dead = self.graph.dead_loops()
        spared = last_of_threads(dead, self.loops, main=True)
        held: dict[str, list[tuple[LoopInfo, Owner]]] = defaultdict(list)
        kept = [one for one in dead if self.loops.of(one).number not in spared]
        if self._gone_before(kept) >= len(kept):
            return
        kept = kept[:_MAX_LOOPS]
        for loop in kept:
            for owner in self.graph.owners(loop, ignore=(dead, kept)):
                bare = owner.subject and len(owner.chain) <= _BARE
                bounded = any(map(_has_a_limit, owner.chain))
                if (
                    not bare and not bounded and not owner.hidden
                ):  # recorded warnings have their source, say
                    held[owner.place].append((self.loops.of(loop), owner))
        for place, entries in held.items():
            if not self._grows(entries) or self.graph.is_told_of(place):
                continue
            if any(keeps_short(owner.chain) for _, owner in entries):
                continue
            info, owner = entries[0]
            yield Observation(
                Finding(
                    RETAINED,
                    f"{len(entries)} dead loops are still held by {place}: each pass leaves one "
                    "more",
                    None,
                    info,
                    loop_births(*(one for one, _ in entries)),
                    RETAINED.remedy,
                    home_state="closed",
                    owner=self.graph.named(owner),
                ),
                identity=place,
            )

    def _grows(self, entries: list[tuple[LoopInfo, Owner]]) -> bool:
        """Whether one was added to another; loops that lived at the same time came in one go."""
        pairs = itertools.combinations((info for info, _ in entries), 2)
        return any(not self.loops.lived_beside(one, other) for one, other in pairs)

    def _gone_before(self, kept: list[asyncio.AbstractEventLoop]) -> int:
        """How many loops are gone that are older than any of these."""
        first = min((self.loops.of(one).number for one in kept), default=0)
        alive = {self.loops.of(one).number for one in self.loops.alive()}
        return sum(one.number < first and one.number not in alive for one in self.loops.made())


_BARE = 6
"""A list of loops that a test keeps for itself: function, closure, cell, list, loop."""


def _has_a_limit(thing: Any) -> bool:
    if is_a(thing, LRU_CACHE):
        return LRU_CACHE.cache_info(thing).maxsize is not None
    return is_a(thing, deque) and deque.maxlen.__get__(thing) is not None
