"""Which ``id()`` a new loop gets: its predecessor's, or one that no loop has had.

Production does both. CPython hands a freed object's memory to the next one of the same size, so
the next loop often has the ``id()`` of the one before it, and code that compares ids takes a new
loop for the old. Whether that happens in a test is luck: it depends on what else was freed.

The luck is steered with placeholders: ``bytes`` of the loop's own size class. One that lies where
the next loop is wanted is freed just before that is made, for the allocator gives the last freed
block first; the others are held meanwhile. Nothing is faked: the loop is made by whoever makes it,
and CPython's allocator places it.

Rejected: instances of the loop's own class as placeholders. Thousands may be needed for one loop,
and each has a finalizer to run, which is the code under test's too where that has patched it.

A plan is for passes, not for loops: in one pass the code may make several, and what it does in that
pass is compared with what it does in others.

One loop at a time: what another thread makes while a place is being held for one is left to luck.
Rejected: to have it wait, for who makes the first may wait for the other.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import weakref
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._cpython import Footprint

Plan = Callable[[int, int], bool | None]
"""Told a pass's number (from 1) and how many passes there are, it says True for the predecessor's
``id()``, False for one never seen, None for luck."""

_MOST = 60_000
"""How many free blocks to use up before the one that is wanted: 10 ms. Mostly it is found at once;
in a process that has run for long thousands may lie before it."""

_AT_FIRST = 250
"""How many of them before the next loop is about to be made: the place may not be free yet."""

_FOR_ANOTHER = 100
"""The same for a pass's second loop and those that follow, of which there may be hundreds."""

_MOST_GIVEN = 50_000

_KEPT = 10_000
"""How many of them are kept for the next search: 0.6 to 3 MB."""


@dataclass(frozen=True)
class Birth:
    """How the making of one loop went: did it take its predecessor's ``id()``, and why not?"""

    recycled: bool
    wanted: bool | None
    obstacle: str = ""


class Steering:
    """Makes loops whose addresses follow a plan.

    Args:
        plan: what each pass's loops are to get.
        passes: how many passes there are.
    """

    def __init__(self, plan: Plan, passes: int) -> None:
        self._plan = plan
        self._passes = passes
        self._pass = 1
        self._in_pass = 0
        self._most_in_pass = 0
        self._address = 0
        self._seen: set[int] = set()
        self._kind: type | None = None
        self._shape: Footprint | None = None
        if plan is not never_mind:
            self._kind, self._shape = _usual()
        self._previous: Callable[[], Any] = lambda: None
        self._blocks = _Blocks()
        self._owed = False
        self._aiming = threading.RLock()
        self.births: list[Birth] = []

    # The lock is taken where no other thread makes a loop now, and else left. Not by a context
    # manager: what one is made of (an empty dictionary of arguments) is as large as a loop, and
    # sat in the very place that was looked for, where no other dictionary was free: in one fresh
    # process of six.

    def next_pass(self) -> None:
        """The pass that went on has ended, and with it its last loop.

        What none of its loops could have, those of the next may.
        """
        last = self.births[-self._in_pass :] if self._in_pass else []
        self._owed = bool(last) and all(one.wanted and not one.recycled for one in last)
        self._pass += 1
        self._in_pass = 0
        if self._aiming.acquire(False):
            try:
                self._reserve(self._pass, _AT_FIRST)
            finally:
                self._aiming.release()

    def reserve(self) -> None:
        """The pass's last loop may just have gone: have its place, before anything else has it."""
        if self._aiming.acquire(False):
            try:
                self._reserve(self._pass + 1, _AT_FIRST)
            finally:
                self._aiming.release()

    def let_go(self) -> None:
        """The run has ended: no place is held any more."""
        if self._aiming.acquire(False):
            try:
                self._blocks.clear()
            finally:
                self._aiming.release()

    def _wanted(self, number: int) -> bool | None:
        wanted = self._plan(number, self._passes)
        if wanted is None:
            return None
        return (wanted or self._owed) and self._address != 0

    def _reserve(self, number: int, most: int) -> None:
        """Put a placeholder where the last loop was, if a pass wants its place.

        Where the code makes several loops in one pass, its own objects take that place before the
        next is made: then those of all earlier ones are held, to be used in turn.
        """
        if self._shape is None or self._address in self._blocks.held or not self._wanted(number):
            return
        if self._previous() is not None and gc.isenabled():
            gc.collect(1)  # what is young: a whole heap would take longer than the pass
        places = self._seen.difference(self._blocks.held)
        if self._most_in_pass == 1:
            places.intersection_update((self._address,))
        if self._previous() is not None:
            places.discard(self._address)
        self._blocks.take(self._shape, places, len(places), most)

    def make(self, factory: Callable[[], Any]) -> Any:
        """Make the next loop with `factory`, at an address according to plan."""
        if self._aiming.acquire(False):
            try:
                return self._aimed(factory)
            finally:
                self._aiming.release()
        loop = factory()
        _remember(id(loop))
        return loop

    def _aimed(self, factory: Callable[[], Any]) -> Any:
        self._reserve(self._pass, _MOST if self._in_pass == 0 else _FOR_ANOTHER)
        wanted = self._wanted(self._pass)
        alive = self._previous() is not None
        held = self._blocks.held
        if self._shape is not None and wanted is False:
            self._blocks.aim_at_new(self._shape, _given())
        elif self._shape is not None and wanted and held:
            place = self._address if self._address in held else next(iter(held))
            self._blocks.aim_at(self._shape, place)
        loop = factory()
        self._blocks.trim()
        self._in_pass += 1
        self._most_in_pass = max(self._most_in_pass, self._in_pass)
        if self._address:
            recycled = id(loop) == self._address
            reason = "its predecessor is still alive" if alive else "its memory had been taken"
            self.births.append(Birth(recycled, wanted, "" if recycled else reason))
        self._address = id(loop)
        self._seen.add(self._address)
        _remember(self._address)
        if type(loop) is not self._kind and self._plan is not never_mind:
            self._kind, self._shape = type(loop), _cpython.footprint(type(loop))
            self._blocks.clear()  # of another size, as what was seen
            self._seen = {self._address}
        try:
            self._previous = weakref.ref(loop)
        except TypeError:
            self._previous = lambda: None
        return loop


class _Blocks:
    """Placeholders: those that lie where a loop is wanted, and the rest.

    The rest is what lay before them, and is kept: the next search has only to pass what was freed
    since. While they are made nothing else is that may be as large: no list, no bound method.
    """

    def __init__(self) -> None:
        self.held: dict[int, bytes] = {}
        self._rest: list[bytes] = []

    def clear(self) -> None:
        """Let go of all places."""
        self.held.clear()
        self._rest.clear()

    def trim(self) -> None:
        """Let go of the rest, where it has become much: of what passes free, all ends here."""
        if len(self._rest) > _KEPT:
            self._rest.clear()

    def take(self, shape: Footprint, places: Set[int], count: int, most: int = _MOST) -> None:
        """Hold so many of these places; the rest is what has to be made before they are reached."""
        length, offset, limit = shape.length, shape.offset, len(self._rest) + most
        while count and len(self._rest) < limit:
            placeholder = bytes(length)  # no call of fill(): this is what a pass costs
            if id(placeholder) + offset in places:
                self.held[id(placeholder) + offset] = placeholder
                count -= 1
            else:
                self._rest.append(placeholder)

    def aim_at(self, shape: Footprint, place: int) -> None:
        """Have the next loop made at a place that is held.

        It is freed only now, with the size class used up around it: the allocator would otherwise
        serve another pool first.
        """
        del self.held[place]
        self.take(shape, {place}, 1)
        self.held.pop(place, None)

    def aim_at_new(self, shape: Footprint, seen: Set[int]) -> None:
        """Have the next loop made where none of these was."""
        most = len(self._rest) + _MOST
        while len(self._rest) < most:
            place, block = shape.fill()
            if place not in seen:
                return
            self._rest.append(block)


@functools.cache
def _given() -> set[int]:
    """All addresses that loops were given, in whichever run: an earlier one's may be remembered."""
    return set()


def _remember(address: int) -> None:
    """Note that a loop has had it. Of very many all are forgotten: 5 MB, and nobody recalls one."""
    given = _given()
    if len(given) >= _MOST_GIVEN:
        given.clear()
    given.add(address)


@functools.cache
def _usual() -> tuple[type, Footprint | None]:
    """The class of the loops that are made if nobody says which, and the memory that one takes.

    One is run, in a way that leaves no trace: the attributes it has by then, all later ones have.
    """
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))
        kind = type(runner.get_loop())
    return kind, _cpython.footprint(kind)


def alternate(number: int, passes: int) -> bool | None:
    """New, recycled, new; where there is more room: new, new, recycled, new, recycled, ...

    Two new ones at the beginning tell code that looks at ids from a client that breaks in each
    second pass and is made anew in the next. With three passes there is no room for that; then what
    follows the recycled one tells it from a pool that was not yet full.
    """
    return number == 2 if passes == 3 else number > 2 and number % 2 == 1


def always(number: int, passes: int) -> bool | None:
    """Each pass's loops get their predecessor's id; the last of four or more gets a new one.

    Without that one, code that is set up once looks like code that takes all these loops for one.
    """
    return number < passes or passes < 4


def never_mind(number: int, passes: int) -> bool | None:
    """Leave it to luck."""
    return None


def describe(births: list[Birth]) -> tuple[str, ...]:
    """A line for each loop that was to take its predecessor's id and could not."""
    return tuple(
        f"loop {number} could not take the id() of loop {number - 1}: {birth.obstacle}"
        for number, birth in enumerate(births, start=2)
        if birth.wanted and not birth.recycled
    )
