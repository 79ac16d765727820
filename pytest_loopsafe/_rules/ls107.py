"""LS107: one Lock, Event, Semaphore, Condition, Queue or Barrier could have bound to two loops.

A primitive binds to a loop only when a task has to wait for it there. Until then it passes through
any number of loops, and then fails in production, under contention. So what is counted is in which
loops a task could have had to wait; two of them are a finding. The same for everybody's primitives,
a library's and the user's own.

A lock, semaphore or condition, in one loop:

=====================  ====================  ======================================================
held while another     taken without asking  can a task have to wait for it there?
task runs              ``locked()`` first
=====================  ====================  ======================================================
no                     either                no: whoever comes finds it free
yes                    never                 no: whoever would have to wait does not take it
yes                    yes                   yes, once a second task comes: it counts
either                 had to wait           it did: it counts
=====================  ====================  ======================================================

*Held while another task runs*: its holder was suspended before it gave it back, or another task or
callback met it while it was held. That is why it counts in each loop by itself. A lock held across
a suspension in one loop, and taken around plain statements only in the others, binds to the one and
is never waited for in the others: nothing is wrong, unless the loops run at the same time in
threads (then a holder in one is met in the other, and counts in both), or one went away with the
lock (then the next to take it has to wait, and counts by that).

A lock that each task takes under one and the same other lock counts nowhere: whoever would have to
wait for it waits for the outer one (`pytest_loopsafe._probes.locksets`).

A queue counts where it is read, or filled up to a limit, without having been asked in the same step
of the same task. What a task has been told by ``qsize()`` lasts longer: so many items it may take
one after the other, for as long as nobody else takes one. ``put`` on a queue without a limit never
waits, nor do ``put_nowait`` and ``release``, and ``join`` only where something is unfinished. A
barrier and a condition count where they are waited for. An Event counts where it had to be waited
for, or where its state was changed in that loop before: set once for good, or set again when it is
set already, it is a plain flag. One that an earlier loop has set, and that is found set, is none if
it is set or cleared after that by who has not asked (`pytest_loopsafe._probes.events`): this loop
took the other's news for its own.

Whether code that asked first listened to the answer is judged at rest, from its bytecode
(`pytest_loopsafe._words.answers`); so is whether a lock was held all the time where it guards one.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.events import AnnouncedAnew, EventChanged, FoundSet
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.locksets import Lockset
from pytest_loopsafe._probes.primitives import UseProbe
from pytest_loopsafe._probes.scheduling import SchedulingProbe
from pytest_loopsafe._probes.steps import Asked
from pytest_loopsafe._probes.uses import CouldWait
from pytest_loopsafe._rules.base import Detector, PassEnded, RunEnded, loop_births
from pytest_loopsafe._rules.uses import ByPrimitive, frames_of, users_of_use
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.naming import name_primitive
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, stack_here

RULE = Rule(
    "LS107",
    "shared-primitive",
    Severity.ERROR,
    "a primitive was used in two loops",
    "Nothing raised only because nobody had to wait. Make it inside the loop that uses it, or "
    "keep one for each loop: LoopLocal(asyncio.Lock) of pytest_loopsafe.recipes does.",
)


@dataclass(frozen=True)
class _Use:
    """Where a task could have had to wait, or could have if its code did not listen."""

    loop: LoopInfo
    frames: tuple[Frame, ...]
    asked: tuple[Asked, ...] = ()
    under: Lockset | None = None

    def is_guarded(self) -> bool:
        """Whether a lock keeps all others away. To be asked at rest."""
        return self.under is not None and self.under.is_guarded()


@dataclass(frozen=True)
class _Found:
    """Where an Event was found set in a loop, since an earlier one."""

    home: LoopInfo
    loop: LoopInfo
    frames: tuple[Frame, ...]


@dataclass
class _Uses:
    """The uses of one primitive: the first that counts, the loop of the latest that does.

    `asked` are those to be judged, by their places: the first in two loops; `listened` the places
    that were found to need no more judging. `guarded` are those under another lock, one a loop:
    they are judged again as long as their loops may run.
    """

    first: _Use | None = None
    latest: int = 0
    asked: dict[object, list[_Use]] = field(default_factory=dict)
    guarded: list[_Use] = field(default_factory=list)
    listened: dict[object, tuple[Asked, ...]] = field(default_factory=dict)


_MOST_GUARDED = 100
"""In so many loops a use under another lock is followed, of one primitive: the latest ones."""


class SharedPrimitives(Detector):
    """LS107."""

    rules = (RULE,)
    probes = (UseProbe(), SchedulingProbe())
    judges = (CouldWait, EventChanged, FoundSet, AnnouncedAnew, PassEnded, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._changed: ByPrimitive[list[LoopInfo]] = ByPrimitive(list)
        self._found: ByPrimitive[list[_Found]] = ByPrimitive(list)
        self._uses: ByPrimitive[_Uses] = ByPrimitive(_Uses)
        self._asked: list[tuple[weakref.ref[Any], _Uses]] = []

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report a use once one in an earlier loop counts; one that asked first, at rest."""
        if isinstance(sighting, CouldWait):
            yield from self._used(sighting)
        elif isinstance(sighting, EventChanged):
            self._changed.of(sighting.event)[:] = [self.loops.of(sighting.loop)]
        elif isinstance(sighting, FoundSet):
            loop, frames = self.loops.of(sighting.loop), stack_here()
            homes = self._changed.of(sighting.event)
            self._found.of(sighting.event)[:] = [_Found(home, loop, frames) for home in homes]
        elif isinstance(sighting, AnnouncedAnew):
            for found in self._found.of(sighting.event):
                yield _carried_over(sighting, found)
        elif isinstance(sighting, PassEnded | RunEnded):
            asked, self._asked = self._asked, []
            for ref, uses in asked:
                yield from self._judge(ref(), uses)
                if uses.guarded and ref() is not None:
                    self._asked.append((ref, uses))

    def _used(self, sighting: CouldWait) -> Iterator[Observation]:
        uses, loop = self._uses.of(sighting.primitive), self.loops.of(sighting.loop)
        if loop.number == uses.latest or not _cpython.may_bind(sighting.primitive):
            return
        if sighting.asked or sighting.under is not None:
            self._note(sighting, uses, loop)
        else:
            home = _cpython.bound_loop(sighting.primitive)
            if home is not None and home is not sighting.loop:
                return  # LS102
            use = _Use(loop, frames_of(sighting))
            yield from self._count(sighting.primitive, uses, use, users_of_use(sighting))

    def _note(self, sighting: CouldWait, uses: _Uses, loop: LoopInfo) -> None:
        if not uses.asked and not uses.guarded:
            self._asked.append((weakref.ref(sighting.primitive), uses))
        if not sighting.asked:
            if all(use.loop != loop for use in uses.guarded[-_MOST_GUARDED:]):
                uses.guarded.append(_Use(loop, frames_of(sighting), under=sighting.under))
                del uses.guarded[:-_MOST_GUARDED]
            return
        key = tuple(asked.key for asked in sighting.asked)
        known = uses.asked.get(key, ())
        if key in uses.listened or len(known) > 1 or any(use.loop == loop for use in known):
            return
        use = _Use(loop, frames_of(sighting), sighting.asked, sighting.under)
        uses.asked.setdefault(key, []).append(use)

    def _judge(self, primitive: Any, uses: _Uses) -> Iterator[Observation]:
        pending, uses.asked = uses.asked, {}
        for key, found in pending.items():
            if all(asked.is_guarded() for asked in found[0].asked):
                uses.listened[key] = found[0].asked
            elif primitive is not None:
                for use in found:
                    if use.is_guarded():
                        uses.guarded.append(use)
                    else:
                        yield from self._count(primitive, uses, use, ())
        judged, uses.guarded = uses.guarded, []
        for use in judged:
            if use.is_guarded():
                uses.guarded.append(use)
            elif primitive is not None:
                yield from self._count(primitive, uses, use, ())

    def _count(
        self, primitive: Any, uses: _Uses, use: _Use, users: tuple[Any, ...] | None
    ) -> Iterator[Observation]:
        first = uses.first = uses.first or use
        uses.latest = use.loop.number
        if first.loop != use.loop:
            yield Observation(
                Finding(
                    RULE,
                    f"one {name_primitive(primitive)} was used in {first.loop} and in {use.loop}: "
                    "it binds to the first loop in which a task has to wait for it, and raises in "
                    "the others",
                    use.loop,
                    first.loop,
                    (
                        Stack(f"used in {use.loop}", use.frames),
                        Stack(f"first used in {first.loop}", first.frames),
                        *loop_births(first.loop, use.loop),
                    ),
                    RULE.remedy,
                ),
                about=(primitive,),
                users=users,
            )


def _carried_over(sighting: AnnouncedAnew, found: _Found) -> Observation:
    name, done = name_primitive(sighting.event), _DONE[sighting.method]
    return Observation(
        Finding(
            RULE,
            f"one {name} was set in {found.home} and found set in {found.loop}, before it was "
            f"{done} there: {found.loop} took what {found.home} had announced for its own",
            found.loop,
            found.home,
            (
                Stack(f"found set in {found.loop}", found.frames),
                Stack(f"{done} in {found.loop}", stack_here()),
                *loop_births(found.home, found.loop),
            ),
            "Make it inside the loop that uses it, or clear it where a loop begins.",
        ),
        about=(sighting.event,),
    )


_DONE = {"set": "set", "clear": "cleared"}
