"""References that keep nothing alive, and lead nowhere where there is nothing to lead to."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from itertools import compress
from typing import Any

from pytest_loopsafe._words.attributes import is_of_class_statement

Ref = Callable[[], Any]
"""Gives the object, or None once it is gone."""


def nowhere() -> None:
    """Stands for the reference to what is not there."""


def weak(thing: Any) -> Ref:
    """A reference to an object; to nothing for None, and where its class has no weak references."""
    try:
        return weakref.ref(thing)
    except TypeError:
        return nowhere


class Address:
    """Stands for an object whose class has no weak references, as with ``dataclass(slots=True)``.

    It remembers where the object is, and of which class. As a reference it leads nowhere: to look
    for the object reads the heap, which is for who rests.
    """

    __slots__ = ("_kind", "number")

    def __init__(self, thing: Any) -> None:
        self.number = id(thing)
        self._kind = weak(type(thing))

    def __call__(self) -> None:
        """Nothing: while code runs it is not looked for."""

    def is_of(self, thing: Any) -> bool:
        """Whether it is this object, or one of its class that has taken its place."""
        return id(thing) == self.number and type(thing) is self._kind()

    def is_same(self, ref: Ref) -> bool:
        """Whether another reference is this address."""
        if not isinstance(ref, Address) or ref.number != self.number:
            return False
        return ref._kind() is self._kind()

    def find(self) -> Any:
        """What is there now, if it is of the class; it may be another object than it was."""
        things = gc.get_objects()
        found = compress(things, map(self.number.__eq__, map(id, things)))
        return next((one for one in found if type(one) is self._kind()), None)


def weak_or_address(thing: Any) -> Ref:
    """A reference to an object; its address where the class that somebody wrote has none."""
    ref = weak(thing)
    is_written = ref is nowhere and is_of_class_statement(type(thing))
    return Address(thing) if is_written else ref
