"""What is put into a queue: work that is read, or a stock of things that come back when used.

A pool in a queue is not empty at its loop's end, and nothing is lost with it: what was put in is in
it again, after it had been out. Told by the things themselves, not by their number: in a queue of
work, too, there is what was put in less what was taken.
"""

from __future__ import annotations

import weakref
from typing import Any

from pytest_loopsafe._probes.uses import Record, Uses
from pytest_loopsafe._words.attributes import is_just_a

_MAX_THINGS = 1_000
_MAX_TEXT = 100
_PLAIN = (int, str, bytes)


class Stock:
    """What was put into a queue in one loop, for as long as all of it can be told apart.

    Attributes:
        known: nothing was put in that cannot be told from another, and nothing of it is gone.
    """

    __slots__ = ("_came_back", "_things", "known")

    def __init__(self) -> None:
        self._things: dict[object, Any] = {}
        self._came_back = False
        self.known = True

    def note(self, item: Any) -> None:
        """Something is put in."""
        key = _key(item)
        if key not in self._things:
            self._things[key] = thing = _hold(item)
            self.known = thing is not None and len(self._things) <= _MAX_THINGS
        elif self._has(key, item):
            self._came_back = True
        else:  # it has the number of one that is gone
            self.known = False

    def is_all_of(self, items: tuple[Any, ...]) -> bool:
        """Whether all is in there, no more and no less, after some of it was out.

        One text or number alone may as well be the same work that was asked for again.
        """
        keys = {key for item in items if self._has(key := _key(item), item)}
        alone = len(items) == 1 and is_just_a(items[0], _PLAIN)
        return (
            self.known
            and self._came_back
            and not alone
            and len(items) == len(keys) == len(self._things)
        )

    def has(self, item: Any) -> bool:
        """Whether this very thing was put in; of a text or number, whether its like was."""
        key = _key(item)
        return key in self._things and self._has(key, item)

    def _has(self, key: object, item: Any) -> bool:
        held = self._things.get(key)
        return is_just_a(item, _PLAIN) or (held is not None and held() is item)


class Puts:
    """How often something was put into a queue: what is not in it any more was taken out."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made = 0


class Filled(Uses):
    """The queues that something was put into."""

    def _record(self, primitive: weakref.ref[Any]) -> Any:
        return _Filling(primitive)


class _Filling(Record):
    __slots__ = ("puts", "stock")

    def __init__(self, primitive: weakref.ref[Any]) -> None:
        self.puts = Puts()
        super().__init__(primitive)

    def begin(self, loop: Any) -> None:
        super().begin(loop)
        self.stock = Stock()


def _key(item: Any) -> object:
    """Plain things are equal when they are made anew; a text is not kept for it."""
    return (type(item), hash(item)) if is_just_a(item, _PLAIN) else id(item)


def _hold(item: Any) -> Any:
    """What tells whether it is still the same thing; None where nothing does."""
    if is_just_a(item, _PLAIN):
        return item if type(item) is int or len(item) <= _MAX_TEXT else None
    try:
        return weakref.ref(item)
    except TypeError:
        return None
