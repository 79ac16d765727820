"""LS201 and LS206: dead loops that somebody still holds.

A loop that is closed and still exists after a collection is held by something. What is bound to
it and matters (an open connection, a pending future) and is found by the next loop too, is stale.
Holding the *last* loop is what a correct client does that looks at the loop when it is used next:
it is judged only after a later loop has run the same code.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pytest_loopsafe._graph.owners import Owner
from pytest_loopsafe._graph.view import in_own_slot
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe
from pytest_loopsafe._rules.base import (
    Detector,
    PassEnded,
    RunEnded,
    loop_births,
    name_loop,
    name_thing,
)
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity

STALE = Rule(
    "LS201",
    "stale-resource",
    Severity.ERROR,
    "a resource is still bound to an earlier, dead loop",
    "Close it before its loop ends, in that loop, and make a new one in the next: `async with` "
    "within the function given to asyncio.run(), or keep one for each loop "
    "(pytest_loopsafe.recipes.LoopLocal). A later loop can no longer close it in order.",
)
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


class StaleResources(Detector):
    """LS201 at the end of each pass, LS206 at the end of the run."""

    rules = (STALE, RETAINED)
    probes = (LifeProbe(),)
    judges = (PassEnded, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._stale: set[str] = set()

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Look at the dead loops that are still there."""
        dead = self.graph.dead_loops()
        if isinstance(sighting, RunEnded):
            yield from self._retained(dead)
            return
        spared = self._last_of_threads(dead, main=False)
        for loop in [one for one in dead if self.loops.of(one).number not in spared][:_MAX_LOOPS]:
            info = self.loops.of(loop)
            later = self.loops.rerun_since(info)
            if later is not None:
                yield from self._judge(loop, info, later, dead)

    def _judge(
        self, loop: asyncio.AbstractEventLoop, info: LoopInfo, later: LoopInfo, dead: list[Any]
    ) -> Iterator[Observation]:
        open_things, at_rest = self.graph.bound_to(loop)
        owners: list[Owner] = []
        for things in (open_things, at_rest):
            # A future or a lock that was used and told of is one hazard, not two.
            untold = [thing for thing in things if not self.graph.is_told(thing)]
            if untold:
                owners += self.graph.owners(
                    *untold, ignore=(untold, things, open_things, at_rest, dead)
                )
        for owner in owners:
            if owner.hidden or in_own_slot((*owner.chain, loop), loop):
                continue
            if not self.graph.is_stale(owner.chain):
                continue
            self._stale.add(_holder(owner))
            yield Observation(
                Finding(
                    STALE,
                    f"{name_thing(owner.chain[-1])} is still bound to {name_loop(info, 'closed')}, "
                    f"although {later} ran the same code",
                    later,
                    info,
                    loop_births(info, later),
                    STALE.remedy,
                    home_state="closed",
                    owner=owner.path,
                ),
                identity=_holder(owner),
            )

    def _retained(self, dead: list[Any]) -> Iterator[Observation]:
        """Two that are not the last, held at one place: each pass leaves one more.

        Each thread that goes on has a last one of its own: with a client for each thread, there
        are never more of them than threads.
        """
        spared = self._last_of_threads(dead, main=True)
        held: dict[str, list[tuple[LoopInfo, Owner]]] = defaultdict(list)
        for loop in [one for one in dead if self.loops.of(one).number not in spared][:_MAX_LOOPS]:
            for owner in self.graph.owners(loop, ignore=(dead,)):
                bare = owner.subject and len(owner.chain) <= _BARE
                if not bare:
                    held[_holder(owner)].append((self.loops.of(loop), owner))
        for place, entries in held.items():
            if len(entries) < 2 or place in self._stale:
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
                    owner=owner.path,
                ),
                identity=place,
            )

    def _last_of_threads(self, dead: list[Any], *, main: bool) -> set[int]:
        """The last dead loop of each thread that goes on, and may look at it when it runs next.

        Args:
            dead: the dead loops, oldest first.
            main: whether the main thread's, and that of all threads that have ended, is wanted.
        """
        alive = {thread.name for thread in threading.enumerate()}
        alive.discard(threading.main_thread().name)
        last: dict[str, LoopInfo] = {}
        for loop in dead:
            info = self.loops.of(loop)
            last[info.thread if info.thread in alive else ""] = info
        if not main:
            last.pop("", None)
        return {info.number for info in last.values()}


_BARE = 6
"""A list of loops that a test keeps for itself: function, closure, cell, list, loop."""


def _holder(owner: Owner) -> str:
    """The place that holds, without what differs from loop to loop: keys and indexes."""
    return owner.path.partition("[")[0]
