"""A walk over the user's data, cheap enough to be made after each pass.

Level by level from the roots on: the collector lists what a whole level refers to in one call. Who
refers to what is not noted, as `pytest_loopsafe._graph.referrers` does at many times the cost, but
asked afterwards, for the few objects that are of interest.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

from pytest_loopsafe._cpython import namespace_of
from pytest_loopsafe._graph import links
from pytest_loopsafe._graph.kinds import is_mass, is_plain_local, module_of
from pytest_loopsafe._graph.roots import NOT_OWNERS, is_users
from pytest_loopsafe._graph.things import PLAIN

_MAX_WALKED = 100_000
_MAX_HELD = 10_000
"""What holds more than that is a mass of data, and would take the walk for itself."""

_BATCH = 256

_CLOSED = (
    *(*PLAIN, CodeType, FrameType, TracebackType, weakref.ref),
    ModuleType,  # a C module's referents must never be asked for: see the referrers
    asyncio.AbstractEventLoop,  # what it runs is work, and nobody's data
)


class _Ways(dict[type, int]):
    """What to do with the instances of a class: 0 to leave them, else go on, or look closer.

    Attributes:
        left: the classes whose instances are left, as far as they are known.
    """

    def __init__(self) -> None:
        self.left: set[type] = set()

    def __missing__(self, kind: type) -> int:
        closed = issubclass(kind, _CLOSED) or module_of(kind).partition(".")[0] in NOT_OWNERS
        is_class, is_local = issubclass(kind, type), is_plain_local(kind)
        self[kind] = _LEAVE if closed else _CLASS if is_class else _LOCAL if is_local else _GO_ON
        if closed:
            self.left.add(kind)
        return self[kind]


_LEAVE, _GO_ON, _CLASS, _LOCAL = range(4)


class Walk:
    """What there is at one moment; nothing else is to run while it is used.

    Args:
        roots: where it begins.

    Attributes:
        levels: all objects, by how many references away from a root they are.
        cut_short: whether it ended at its bound.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        level = list({id(one): one for one in roots}.values())
        self._depth = {
            id(namespace_of(one)): -1
            for one in tuple(sys.modules.values())
            if issubclass(type(one), ModuleType)
        }
        self._depth.update((id(one), 0) for one in level)
        self._of_threads: dict[int, Any] = {}
        self._ways = _Ways()
        self.levels: list[list[Any]] = []
        self.cut_short = False
        room = _MAX_WALKED
        while level and not self.cut_short:
            level = [one for one in level if not is_mass(one, _MAX_HELD)]
            self.cut_short = len(level) > room
            del level[room:]
            room -= len(level)
            self.levels.append(level)
            level = self._below(level)

    def _below(self, level: Sequence[Any]) -> list[Any]:
        """What a level refers to, and was not reached before."""
        found: list[Any] = []
        depth, ways, number = self._depth, self._ways, len(self.levels)
        # Five in six referents are text, numbers and code, and most others were met before. What
        # sorts these out runs in C as far as it can: it is half of what a look takes.
        left = ways.left
        met = {id(one): one for one in gc.get_referents(*level) if type(one) not in left}
        for key in met.keys() & depth.keys():
            del met[key]
        for key, one in met.items():
            way = ways[type(one)]
            if not way or (way == _CLASS and not is_users(module_of(one))):
                continue
            depth[key] = number
            found.append(one)
            if way == _LOCAL:
                names = links.own_dict(one)  # which the thread holds, in C
                if names is not None and id(names) not in depth:
                    depth[id(names)] = number
                    self._of_threads[id(names)] = one
                    found.append(names)
        return found

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.levels)

    def holders(self, things: Iterable[Any]) -> dict[int, list[Any]]:
        """What of all this refers to each of these, by ``id()``; the nearest to a root first."""
        found: dict[int, list[Any]] = defaultdict(list)
        wanted = set(map(id, things))
        for level in self.levels if wanted else ():
            for holder, held in _edges(level, wanted):
                found[id(held)].append(holder)
        return found

    def parents(self, things: Iterable[Any]) -> dict[int, Any]:
        """By what the walk came to these, and by what to that, up to the roots; by ``id()``."""
        found: dict[int, Any] = {}
        wanted: dict[int, set[int]] = defaultdict(set)
        for one in things:
            wanted[self._depth[id(one)]].add(id(one))
        for number in range(len(self.levels) - 1, 0, -1):
            for key in wanted[number] & self._of_threads.keys():
                found[key] = self._of_threads[key]
                wanted[number].discard(key)
                wanted[number].add(id(found[key]))
            for holder, held in _edges(self.levels[number - 1], wanted[number]):
                if id(held) not in found:
                    found[id(held)] = holder
                    wanted[number - 1].add(id(holder))
        return found


def _edges(level: Sequence[Any], wanted: set[int]) -> Iterator[tuple[Any, Any]]:
    """Who of a level refers to which of the objects wanted."""
    for begin in range(0, len(level) if wanted else 0, _BATCH):
        batch = level[begin : begin + _BATCH]
        if wanted.isdisjoint(map(id, gc.get_referents(*batch))):
            continue
        for holder in batch:
            yield from ((holder, held) for held in gc.get_referents(holder) if id(held) in wanted)
