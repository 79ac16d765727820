"""Who refers to an object, asked of the collector as seldom as can be.

``gc.get_referrers()`` reads the whole heap for each question: 40 ms for half a million objects, and
a connection lies fifteen or twenty references below the global that holds it. But most of these
references are ones that can be found from above: the user's own globals are few, and what is
reached from them is known after one walk.

Whether what the walk has found is all there is, reference counts tell. It is the collector's own
arithmetic (``subtract_refs`` in ``Modules/gcmodule.c``): an object that has as many references as
the walk has met is held by nobody else. Only for one that has more the whole heap is read. So the
answers are those of the collector, whatever the walk has missed.

What is known is true for as long as nothing else runs: an index is made for one moment, and holds
what it speaks of. Its bounds are counts: on a busy machine it answers the same.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from types import CodeType, FrameType, ModuleType
from typing import Any

from pytest_loopsafe._cpython import namespace_of
from pytest_loopsafe._graph.kinds import is_mass

_MAX_WALKED = 100_000
_MAX_READS = 40
"""How often the whole heap may be read at one moment (60 ms each on a million objects)."""
_MAX_HELD = 10_000
"""What holds more than that is a mass of data, and would take the walk for itself."""

_CHUNK = 200
_NONE = -1

_PLAIN = (str, bytes, int, float, complex, bool, type(None), CodeType)
"""Kinds of objects that hold nothing."""

_CLOSED = (ModuleType, FrameType)
"""What is not walked into. A C module's referents must never be asked for: 3.12's ``_asyncio``
answers with freed objects from its free list, and giving them back corrupts it."""


class _Way(Enum):
    """What the walk does with objects of a kind, which it asks once of each kind."""

    PLAIN = auto()
    CLOSED = auto()
    ENTERED = auto()
    CLASS = auto()


def _references(things: Sequence[Any], index: int) -> int:
    """The references to one of a sequence; how many of them are ours, `_OURS` tells."""
    return sys.getrefcount(things[index])


_OURS = _references([[]], 0)
"""What `_references` counts for an object that only its sequence holds, on this interpreter."""


class Referrers:
    """An index of who refers to what, for one moment.

    Args:
        roots: where the walk begins: the globals of the user's modules, and what the test named.
        enters: whether the walk goes on from objects of a kind; it is asked once of each.
        enters_class: whether it goes on from a class, whatever its metaclass.
    """

    def __init__(
        self,
        roots: Iterable[Any] = (),
        enters: Callable[[type], bool] = lambda kind: True,
        enters_class: Callable[[type], bool] = lambda kind: True,
    ) -> None:
        self._roots = list({id(one): one for one in roots}.values())  # each is walked once
        self._enters = enters
        self._enters_class = enters_class
        self._walked: list[Any] = []
        self._entered: set[int] = set()
        # One entry for each reference: the position in _walked of what refers, and the entry
        # before it of the same object. Numbers alone: lists would set the collector going.
        self._last: dict[int, int] = {}  # of an id()
        self._referring: list[int] = []
        self._before: list[int] = []
        self._complete: set[int] = set()
        self._read: dict[int, list[Any]] = {}  # what the whole heap has answered
        self._kept: Counter[int] = Counter()  # references that _read has made
        self.own: set[int] = {id(self._roots), id(self._walked)}
        """The ``id()`` of containers of ours, which a reading of the heap finds too."""
        self.reads = 0
        """How often the whole heap has been read."""
        self.cut_short = False
        """Whether the walk ended at its bound."""

    def of(
        self, things: Sequence[Any], indexes: Sequence[int], ignored: set[int], *, read: bool
    ) -> list[tuple[Any, int]]:
        """What refers to some of a sequence of objects: pairs of a referrer and an index.

        No generator: it would be found among the referrers, and its makers after it.

        Args:
            things: objects that the collector tracks.
            indexes: which of them.
            ignored: the ``id()`` of containers of the caller's.
            read: whether to read the whole heap for those that the walk has not met all holders of;
                else what the walk has met has to do.
        """
        if not self._walked:
            self._walk()
        if read:
            unknown = [
                index
                for index in indexes
                if id(things[index]) not in self._read and not self._is_complete(things, index)
            ]
            for begin in range(0, len(unknown), _CHUNK):
                if self.reads >= _MAX_READS:
                    break
                self._read_heap(things, unknown[begin : begin + _CHUNK], ignored)
        # Only now: while the heap is read, such pairs would be found among the referrers.
        found: list[tuple[Any, int]] = []
        for index in indexes:
            key = id(things[index])
            answers = self._read.get(key, ())
            found += [(one, index) for one in answers]
            # What is frozen is not found by a reading, but the walk may have met it.
            read_already = set(map(id, answers)) | ignored if answers else ()
            met = [self._walked[position] for position in self._positions(key)]
            found += [(one, index) for one in met if id(one) not in read_already]
        return found

    @property
    def exhausted(self) -> bool:
        """Whether the heap may not be read any more."""
        return self.reads >= _MAX_READS

    def _is_complete(self, things: Sequence[Any], index: int) -> bool:
        """Whether the walk has met all references to an object."""
        key = id(things[index])
        if key in self._complete:
            return True
        met = len(self._positions(key))
        ours = _OURS + (key in self._entered) + self._kept[key]
        if not met or _references(things, index) - ours > met:
            return False
        self._complete.add(key)
        return True

    def _positions(self, key: int) -> list[int]:
        """Where in what was walked the holders of an object are, by its ``id()``."""
        found = []
        entry = self._last.get(key, _NONE)
        while entry != _NONE:
            found.append(self._referring[entry])
            entry = self._before[entry]
        found.reverse()
        return found

    def _walk(self) -> None:
        """Note who refers to what, from the roots inwards, within bounds.

        What has been noted stays true where a bound ends the walk: the counts do not agree then.
        """
        closed = {id(namespace_of(module)) for module in _modules()}
        closed.update(map(id, self._roots))  # each of which is there already
        pending: deque[Any] = deque(self._roots)
        ways: dict[int, _Way] = {id(kind): _Way.PLAIN for kind in _PLAIN}
        plain, closed_way, entered = _Way.PLAIN, _Way.CLOSED, _Way.ENTERED
        kinds: list[type] = []  # so that the id() of each stays its own
        last, referring, before = self._last, self._referring, self._before
        while pending:
            if len(self._walked) >= _MAX_WALKED:
                self.cut_short = True
                return
            holder = pending.popleft()
            if is_mass(holder, _MAX_HELD):
                continue
            position = len(self._walked)
            self._walked.append(holder)
            self._entered.add(id(holder))
            for held in gc.get_referents(holder):
                way = ways.get(id(type(held)))
                if way is None:
                    kinds.append(type(held))
                    way = ways[id(kinds[-1])] = self._way_of(kinds[-1])
                if way is plain:
                    continue
                key = id(held)
                earlier = last.get(key, _NONE)
                last[key] = len(referring)
                referring.append(position)
                before.append(earlier)
                if earlier != _NONE or way is closed_way or key in closed:
                    continue
                if way is entered or self._enters_class(held):
                    pending.append(held)

    def _way_of(self, kind: type) -> _Way:
        if issubclass(kind, type):
            return _Way.CLASS
        return _Way.CLOSED if issubclass(kind, _CLOSED) or not self._enters(kind) else _Way.ENTERED

    def _read_heap(self, things: Sequence[Any], indexes: list[int], ignored: set[int]) -> None:
        """Ask the collector, which reads the whole heap for it."""
        self.reads += 1
        objects = [things[index] for index in indexes]
        # On 3.13 the collector also finds the tuple of its own arguments: the mark tells it.
        mark = object()
        referrers = gc.get_referrers(*objects, mark)
        own = self.own | ignored | {id(referrers), id(objects)}
        answers: dict[int, list[Any]] = {id(one): [] for one in objects}
        for referrer in referrers:
            if id(referrer) in own or issubclass(type(referrer), ModuleType):
                continue
            if type(referrer) is tuple and referrer and referrer[-1] is mark:
                continue
            for key in answers.keys() & set(map(id, gc.get_referents(referrer))):
                answers[key].append(referrer)
                self._kept[id(referrer)] += 1
        self._read |= answers
        self.own.update(map(id, answers.values()))


def _modules() -> list[ModuleType]:
    return [one for one in tuple(sys.modules.values()) if issubclass(type(one), ModuleType)]
