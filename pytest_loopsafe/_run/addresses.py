"""Which ``id()`` a new loop gets: its predecessor's, or one that no loop has had.

Production does both. CPython hands a freed object's memory to the next one of the same size, so
the next loop often has the ``id()`` of the one before it, and code that compares ids takes a new
loop for the old. Whether that happens in a test is luck: it depends on what else was freed.

The luck is steered with placeholders: objects of the loop's own size class. One that lies where the
next loop is wanted is freed just before that is made, for the allocator gives the last freed block
first; the others are held meanwhile. Nothing is faked: the loop is made by whoever makes it, and
CPython's allocator places it.

A plan is for passes, not for loops: in one pass the code may make several, and what it does in that
pass is compared with what it does in others.

One loop at a time: what another thread makes while a place is being held for one is left to luck.
Rejected: to have it wait, for who makes the first may wait for the other.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._cpython import BaseEventLoop

Plan = Callable[[int, int], bool | None]
"""Told a pass's number (from 1) and how many passes there are, it says True for the predecessor's
``id()``, False for one never seen, None for luck."""

_MOST = 60_000
"""How many free blocks to use up before the one that is wanted: 20 ms. Mostly it is found at once;
in a process that has run for long thousands may lie before it."""


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
        self._kind = None if plan is never_mind else settle_layout()
        self._previous: Callable[[], Any] = lambda: None
        self._blocks = _Blocks()
        self._owed = False
        self._aiming = threading.RLock()
        self.births: list[Birth] = []

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other thread makes a loop now, nor will in this block."""
        alone = self._aiming.acquire(blocking=False)
        try:
            yield alone
        finally:
            if alone:
                self._aiming.release()

    def next_pass(self) -> None:
        """The pass that went on has ended, and with it its last loop.

        What none of its loops could have, those of the next may.
        """
        last = self.births[-self._in_pass :] if self._in_pass else []
        self._owed = bool(last) and all(one.wanted and not one.recycled for one in last)
        self._pass += 1
        self._in_pass = 0
        with self._alone() as alone:
            if alone:
                self._reserve(self._pass)

    def reserve(self) -> None:
        """The pass's last loop may just have gone: have its place, before anything else has it."""
        with self._alone() as alone:
            if alone:
                self._reserve(self._pass + 1)

    def let_go(self) -> None:
        """The run has ended: no place is held any more."""
        with self._alone() as alone:
            if alone:
                self._blocks.held.clear()

    def _wanted(self, number: int) -> bool | None:
        wanted = self._plan(number, self._passes)
        if wanted is None:
            return None
        return (wanted or self._owed) and self._address != 0

    def _reserve(self, number: int) -> None:
        """Put a placeholder where the last loop was, if a pass wants its place.

        Where the code makes several loops in one pass, its own objects take that place before the
        next is made: then those of all earlier ones are held, to be used in turn.
        """
        if self._kind is None or self._address in self._blocks.held or not self._wanted(number):
            return
        if self._previous() is not None and gc.isenabled():
            gc.collect(1)  # what is young: a whole heap would take longer than the pass
        places = self._seen.difference(self._blocks.held)
        if self._most_in_pass == 1:
            places.intersection_update((self._address,))
        if self._previous() is not None:
            places.discard(self._address)
        self._blocks.take(self._kind, places, len(places))
        self._blocks.rest.clear()

    def make(self, factory: Callable[[], Any]) -> Any:
        """Make the next loop with `factory`, at an address according to plan."""
        with self._alone() as alone:
            if alone:
                return self._aimed(factory)
        loop = factory()
        _given().add(id(loop))
        return loop

    def _aimed(self, factory: Callable[[], Any]) -> Any:
        self._reserve(self._pass)
        wanted = self._wanted(self._pass)
        alive = self._previous() is not None
        held = self._blocks.held
        if wanted is False and self._kind is not None:
            self._blocks.aim_at_new(self._kind, _given())
        elif wanted and held:
            self._blocks.aim_at(self._address if self._address in held else next(iter(held)))
        loop = factory()
        self._blocks.rest.clear()
        self._in_pass += 1
        self._most_in_pass = max(self._most_in_pass, self._in_pass)
        if self._address:
            recycled = id(loop) == self._address
            reason = "its predecessor is still alive" if alive else "its memory had been taken"
            self.births.append(Birth(recycled, wanted, "" if recycled else reason))
        self._address = id(loop)
        self._seen.add(self._address)
        _given().add(self._address)
        if type(loop) is not self._kind:
            _settle(type(loop))
        self._kind = type(loop) if _can_be_blank(type(loop)) else None
        try:
            self._previous = weakref.ref(loop)
        except TypeError:
            self._previous = lambda: None
        return loop


class _Blocks:
    """Placeholders: those that lie where a loop is wanted, and the rest.

    A placeholder is an instance of the loop's own class that was never initialised: how much
    memory CPython gives to an instance depends on its class (from 3.13 on, its attributes lie
    inline). While they are made nothing else is that may be as large: no list, no bound method.
    """

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}
        self.rest: list[Any] = []

    def take(self, kind: Any, places: Set[int], count: int, most: int = _MOST) -> None:
        """Hold so many of these places; the rest is what has to be made before they are reached."""
        collects = gc.isenabled()
        gc.disable()  # so many new objects would have it run, in the middle of this
        while count and len(self.rest) < most:
            placeholder = _cpython.blank_loop(kind)
            if id(placeholder) in places:
                self.held[id(placeholder)] = placeholder
                count -= 1
            else:
                self.rest.append(placeholder)
        if collects:
            gc.enable()

    def aim_at(self, place: int) -> None:
        """Have the next loop made at a place that is held.

        It is freed only now, with the size class used up around it: the allocator would otherwise
        serve another pool first.
        """
        kind, places = type(self.held[place]), {place}
        del self.held[place]
        self.take(kind, places, 1)
        self.held.pop(place, None)

    def aim_at_new(self, kind: Any, seen: Set[int]) -> None:
        """Have the next loop made where none of these was."""
        self.take(kind, set(), 1, most=1)
        while len(self.rest) < _MOST and id(self.rest[-1]) in seen:
            self.take(kind, set(), 1, most=len(self.rest) + 1)
        self.rest.pop()


@functools.cache
def _given() -> set[int]:
    """All addresses that loops were given, in whichever run: an earlier one's may be remembered."""
    return set()


@functools.cache
def settle_layout() -> Any:
    """Run a loop, in a way that leaves no trace, so that all later ones are of one size.

    Returns:
        Its class, where instances may be placeholders.
    """
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))
        kind = type(runner.get_loop())
    _settle(kind)
    return kind if _can_be_blank(kind) else None


def _settle(kind: Any) -> None:
    """Have instances of a class be of one size from here on.

    Since 3.13 attributes lie inline, and each new instance has room for one fewer that its class
    does not know yet (``dk_usable``), down to one: the first thirty or so are larger than others.
    """
    if sys.version_info >= (3, 13) and _can_be_blank(kind):
        _Blocks().take(kind, set(), 1, most=_INSTANCES_THAT_SHRINK)


_INSTANCES_THAT_SHRINK = 40


def _can_be_blank(kind: Any) -> bool:
    """Whether instances of a loop class may exist without having been initialised."""
    return (
        kind.__new__ is object.__new__
        and getattr(kind, "__del__", None) is getattr(BaseEventLoop, "__del__", None)
        and issubclass(kind, BaseEventLoop)
    )


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
