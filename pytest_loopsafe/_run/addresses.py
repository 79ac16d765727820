"""Which ``id()`` a new loop gets: its predecessor's, or surely another.

Production does both. CPython hands a freed object's memory to the next one of the same size, so
the next loop often has the ``id()`` of the one before it, and code that compares ids takes a new
loop for the old. Whether that happens in a test is luck: it depends on what else was freed.

The luck is steered with a placeholder: an object of the loop's own size class that is put on the
predecessor's address as soon as that is free. It is freed just before the next loop is made (the
allocator gives the last freed block first), or held meanwhile. Nothing is faked: the loop is made
by whoever makes it, and CPython's allocator places it.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._cpython import BaseEventLoop

_FEW, _MANY = 1_000, 20_000
"""How many free blocks to use up before the one that is wanted. In a process that has run for long
thousands may lie before it: worth 5 ms where each loop is asked to take its predecessor's place."""


@dataclass(frozen=True)
class Birth:
    """How the making of one loop went: did it take its predecessor's ``id()``, and why not?"""

    recycled: bool
    wanted: bool | None
    obstacle: str = ""


class Steering:
    """Makes loops whose addresses follow a plan.

    Args:
        plan: told the loop's number (from 1), it says True to take the predecessor's ``id()``,
            False to take another, None to leave it to luck.
    """

    def __init__(self, plan: Callable[[int], bool | None]) -> None:
        self._plan = plan
        self._most = _MANY if plan is always else _FEW
        self._count = 0
        self._address: int | None = None
        self._kind: type | None = None
        self._previous: Callable[[], Any] = lambda: None
        self._seat: object | None = None
        self.births: list[Birth] = []

    def reserve(self) -> None:
        """Put a placeholder where the last loop was; to be called as soon as that has ended."""
        if self._address is None or self._seat is not None or self._plan(self._count + 1) is None:
            return
        if self._previous() is not None:
            gc.collect()
        if self._previous() is None and self._kind is not None:
            self._seat, _ = _placeholder_at(self._address, self._kind, self._most)

    def make(self, factory: Callable[[], Any]) -> Any:
        """Make the next loop with `factory`, at an address according to plan."""
        self.reserve()
        self._count += 1
        wanted = self._plan(self._count) if self._address is not None else None
        alive = self._previous() is not None
        others: list[object] = []
        if wanted and self._seat is not None and self._address is not None:
            # Free it only now, with the size class used up around it: the allocator would
            # otherwise serve another pool first.
            kind, self._seat = type(self._seat), None
            seat, others = _placeholder_at(self._address, kind, self._most)
            del seat
        loop = factory()
        others.clear()
        self._seat = None
        if self._address is not None:
            recycled = id(loop) == self._address
            reason = "its predecessor is still alive" if alive else "its memory had been taken"
            self.births.append(Birth(recycled, wanted, "" if recycled else reason))
        self._address = id(loop)
        self._kind = type(loop) if _can_be_blank(type(loop)) else None
        try:
            self._previous = weakref.ref(loop)
        except TypeError:
            self._previous = lambda: None
        return loop


def _placeholder_at(address: int, kind: Any, most: int) -> tuple[object | None, list[object]]:
    """Make placeholders until one lands on this address; return it, and the others.

    A placeholder is an instance of the loop's own class that was never initialised: how much
    memory CPython gives to an instance depends on its class (from 3.13 on, its attributes lie
    inline). The loop is no `for ... in range`, because a range object is as large as a loop.
    """
    others: list[object] = []
    while len(others) < most:
        placeholder = _cpython.blank_loop(kind)
        if id(placeholder) == address:
            return placeholder, others
        others.append(placeholder)
    return None, others


@functools.cache
def settle_layout() -> None:
    """Make asyncio's loop once: on 3.13 the first instance of a class is of another size."""
    asyncio.new_event_loop().close()


def _can_be_blank(kind: Any) -> bool:
    """Whether instances of a loop class may exist without having been initialised."""
    return (
        kind.__new__ is object.__new__
        and getattr(kind, "__del__", None) is getattr(BaseEventLoop, "__del__", None)
        and issubclass(kind, BaseEventLoop)
    )


def alternate(number: int) -> bool | None:
    """Loop 2 gets an id of its own, loop 3 its predecessor's, and so on in turn."""
    return number % 2 == 1


def always(number: int) -> bool | None:
    """Each loop gets its predecessor's id."""
    return True


def never_mind(number: int) -> bool | None:
    """Leave it to luck."""
    return None


def describe(births: list[Birth]) -> tuple[str, ...]:
    """A line for each loop that was to take its predecessor's id and could not."""
    return tuple(
        f"loop {number} could not take the id() of loop {number - 1}: {birth.obstacle}"
        for number, birth in enumerate(births, start=2)
        if birth.wanted and not birth.recycled
    )
