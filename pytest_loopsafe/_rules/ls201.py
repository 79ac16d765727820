"""LS201: a resource is still bound to an earlier, dead loop, after a later loop ran the same code.

Evidence: a loop is closed and still exists after a collection, so something holds it. What is
bound to it and matters to another loop (an open connection, a pending future, a client that is
not closed) has a slot by the user's own names, and a later loop ran what this one had run and
found it there. Holding the *last* loop is what a correct client does that looks at the loop when
it is used next. Of loops that lived at the same time none is later: there it is stale in a client
that another of them has used as well.

What is in an entry of its own loop is no use to others; what is finished (a process that has
exited, a stopped server, a closed client) is not stale; a timer that would only take away the
record of itself is not missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.kinds import is_a, is_future
from pytest_loopsafe._graph.own_slots import in_own_slot
from pytest_loopsafe._graph.owners import Owner
from pytest_loopsafe._ledger.dead_loops import last_of_threads
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe
from pytest_loopsafe._rules.base import Detector, PassEnded, RunEnded, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.naming import name_loop, name_thing
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack

STALE = Rule(
    "LS201",
    "stale-resource",
    Severity.ERROR,
    "a resource is still bound to an earlier, dead loop",
    "Close it before its loop ends, in that loop, and make a new one in the next: `async with` "
    "within the function given to asyncio.run(), or keep one for each loop "
    "(pytest_loopsafe.recipes.LoopLocal). A later loop can no longer close it in order.",
)

_MAX_LOOPS = 4


class StaleResource(Detector):
    """LS201: at each rest what the user's own globals hold; at the last one what anybody holds."""

    rules = (STALE,)
    probes = (LifeProbe(),)
    judges = (PassEnded, RunEnded)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Look at the dead loops that are still there."""
        dead = self.graph.dead_loops()
        spared = last_of_threads(dead, self.loops, main=False)
        judged = 0
        for loop in dead:
            info = self.loops.of(loop)
            if info.number in spared or judged >= _MAX_LOOPS:
                continue
            later = self.loops.rerun_since(info)
            if later is not None or self.loops.lived_beside(info):
                judged += 1
                yield from self._judge(
                    loop, info, later, dead, thorough=isinstance(sighting, RunEnded)
                )

    def _judge(
        self,
        loop: asyncio.AbstractEventLoop,
        info: LoopInfo,
        later: LoopInfo | None,
        dead: list[Any],
        *,
        thorough: bool,
    ) -> Iterator[Observation]:
        open_things, at_rest = self.graph.bound_to(loop, thorough=thorough)
        owners: list[Owner] = []
        for things in (open_things, at_rest):
            # A future or a lock that was used and told of is one hazard, not two.
            untold = [thing for thing in things if not self.graph.is_told(thing)]
            if untold:
                owners += self.graph.owners(
                    *untold,
                    ignore=(untold, things, open_things, at_rest, dead),
                    thorough=thorough,
                )
        for owner in owners:
            if owner.hidden or in_own_slot((*owner.chain, loop), loop):
                continue
            if not self.graph.is_stale(owner.chain):
                continue
            user, did = later, "ran the same code"
            if user is None:
                beside = self.graph.other_user(owner.chain, loop)
                if beside is None:
                    continue
                user, did = self.loops.of(beside), "used the same client"
            self.graph.tell_of(owner.place)
            yield self._stale(owner, info, user, did)

    def _stale(self, owner: Owner, info: LoopInfo, user: LoopInfo, did: str) -> Observation:
        record = next(filter(None, map(self.ledger.of, reversed(owner.chain))), None)
        made = (Stack(f"it was made in {record.loop}", record.made),) if record else ()
        return Observation(
            Finding(
                STALE,
                f"{name_thing(owner.chain[-1])} is still bound to {name_loop(info, 'closed')}, "
                f"although {user} {did}",
                user,
                info,
                (*made, *loop_births(info, user)),
                STALE.remedy,
                home_state="closed",
                owner=self.graph.named(owner),
            ),
            identity=owner.place,
            severity=Severity.WARNING if _is_idle(owner.chain[-1]) else None,
        )


def _is_idle(thing: Any) -> bool:
    """Whether it is a timer, or a future for which nobody waits.

    A timer that merely tidies up early is missed by nobody; where something waits for what it would
    have done, that is LS207's error. Who comes to wait for such a future is told so by LS101.
    """
    if is_future(thing) and not is_a(thing, asyncio.Task):
        return not _cpython.callbacks_of(thing)
    return is_a(thing, asyncio.TimerHandle)
