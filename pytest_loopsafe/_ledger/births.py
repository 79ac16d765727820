"""What was born for which slot in loops with new and with reused ``id()``s, and what that tells.

Born in each pass whose loops had ids never seen, and in none whose loops had their predecessors':
then the ``id()`` was asked for, in whatever form. That is an experiment, and needs no word of the
code. What else could give the same pattern has to be ruled out:

- set up once at first use: a pass with a new id after the reused one, in which it is born again;
- a client that breaks in each second or third pass and is made anew in the next, or an entry for
  each two calls (``batches.setdefault(count // 2, Batch())``): passes that are no each n-th;
- an entry for each user, some of whom come twice: of entries under keys of their own, births alone
  tell where that came out so for reused ids at two times;
- a pool that is not yet full: a pass with a new id after the reused one;
- another thread, which fills a registry now and then, by luck in these passes and not in those:
  then births alone tell nothing.

Where the passes are too few for that, or another thread ran, the number has to be found: in the
key of the thing, or beside it, written when it was born and left alone when it was not. A
number that is listed, in a set say, counts beside other evidence only: those who count their loops
have one, too.

A pass with a new id that failed tells nothing: it may have ended before the thing was made.
"""

from __future__ import annotations

import itertools
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_loopsafe._graph.inventory import Arrival, Inventory, Known, Slot, weak
from pytest_loopsafe._graph.numbers import How, Numbers
from pytest_loopsafe._words.loops import LoopInfo


@dataclass(frozen=True)
class Pass:
    """A pass between two looks.

    Attributes:
        number: its number.
        key: what it ran.
        loops: the loops made in it, each with the earlier one whose ``id()`` it had, if any did.
        is_new: True where none of them had an earlier loop's ``id()``, False where each had, None
            where some had.
        failed: whether an error left it.
        alone: whether no other thread ran, which may have made what was born.
    """

    number: int
    key: str | None
    loops: tuple[tuple[LoopInfo, LoopInfo | None], ...]
    is_new: bool | None
    failed: bool
    alone: bool = True


@dataclass
class _Writing:
    """What was found at one place that remembers loops: by pass, the objects with numbers."""

    path: str
    how: How
    held: dict[int, tuple[object, ...]] = field(default_factory=dict)

    def changed_in(self, index: int) -> bool:
        """Whether a number was written in this pass that was not there before."""
        earlier = [at for at in self.held if at < index]
        before = set(map(id, self.held[max(earlier)])) if earlier else set()
        return any(id(one) not in before for one in self.held.get(index, ()))


@dataclass
class _Record:
    """What was born for one slot, by pass; `thing` is the last of it, by ``id()`` and weakly."""

    kind: str
    slot: Slot
    by_key: bool
    path: dict[int, str] = field(default_factory=dict)
    present: set[int] = field(default_factory=set)
    thing: tuple[int, weakref.ref[Any] | None] = (0, None)
    writings: dict[tuple[str, How], _Writing] = field(default_factory=dict)

    @property
    def births(self) -> set[int]:
        """The passes in which it was born."""
        return set(self.path)


@dataclass(frozen=True)
class Taken:
    """A slot whose owner took a loop for an earlier one, or may have.

    Attributes:
        kind: what is born there.
        path: where the thing is that was taken for the later loop's.
        memory: where the number is remembered, beside the thing; None for its key, and where the
            births alone tell.
        born: the passes in which the like was born.
        reused: the first pass in which it was not, though it would have been for a new ``id()``.
        sure: whether nothing else can have done this; else a further pass would tell.
        place: the same for all slots with one root.
    """

    kind: str
    path: str
    memory: str | None
    born: tuple[Pass, ...]
    reused: Pass
    sure: bool
    place: object


class Births:
    """The record of one watch, filled pass by pass."""

    def __init__(self) -> None:
        self.passes: list[Pass] = []
        self._exact: dict[tuple[Slot, str], _Record] = {}
        self._keyed: dict[tuple[Slot, str], _Record] = {}
        self._under: dict[tuple[Slot, str], set[int]] = defaultdict(set)
        self._prefixes: set[Slot] = set()

    def add(self, one: Pass, known: Known, inventory: Inventory, numbers: Numbers) -> None:
        """Take in what a pass has left, and what of the earlier ones is still there.

        Args:
            one: the pass.
            known: what was there before it.
            inventory: what is there now.
            numbers: those of all loops so far.
        """
        index = len(self.passes)
        self.passes.append(one)
        reached: set[Slot] = set()
        followed = [inventory.thing(*record.thing) for record in self._records()]
        for arrival in inventory.arrivals(known, (one for one in followed if one is not None)):
            self._born(self._exact, arrival.slot, arrival, index)
            for end in range(1, len(arrival.slot) + 1):
                slot = arrival.slot[:end]
                self._under[slot, arrival.kind].add(index)
                reached.add(slot)
                if end > 1 and slot not in self._prefixes and slot[-1] is not ...:
                    self._born(self._keyed, slot[:-1], arrival, index)
        self._prefixes |= reached
        for record in self._records():
            thing = inventory.thing(*record.thing)
            if thing is not None:
                record.present.add(index)
                for memory in inventory.memories(thing, numbers):
                    at = (memory.path, memory.how)
                    record.writings.setdefault(at, _Writing(*at)).held[index] = memory.held

    def _records(self) -> Iterator[_Record]:
        return itertools.chain(self._exact.values(), self._keyed.values())

    def _born(
        self, records: dict[tuple[Slot, str], _Record], slot: Slot, arrival: Arrival, index: int
    ) -> None:
        key = (slot, arrival.kind)
        if key not in records:
            records[key] = _Record(arrival.kind, slot, by_key=records is self._keyed)
        records[key].path[index] = arrival.path
        records[key].thing = (id(arrival.thing), weak(arrival.thing))

    # -- what it tells -----------------------------------------------------------------------

    def verdicts(self) -> Iterator[Taken]:
        """What took a loop for an earlier one, those that are sure first; one for each place."""
        found = [
            taken
            for record in self._records()
            for key in {one.key for one in self.passes}
            if (taken := self._judge(record, key)) is not None
        ]
        told: set[object] = set()
        for taken in sorted(found, key=lambda one: not one.sure):
            if told.isdisjoint((taken.place, taken.path)):
                yield taken
            told |= {taken.place, taken.path}

    def _judge(self, record: _Record, key: str | None) -> Taken | None:
        passes = [(i, one) for i, one in enumerate(self.passes) if one.key == key]
        new = [i for i, one in passes if one.is_new and not one.failed]
        reused = [i for i, one in passes if one.is_new is False]
        if not new or not reused or new[0] > reused[0]:
            return None
        missed = self._under[record.slot, record.kind].intersection(reused)
        if missed or not record.births.issuperset(new) or not record.present.issuperset(reused):
            return None
        writing = _left_alone(record.writings.values(), new, reused)
        sure = self._is_sure(record, new, reused, writing)
        if sure is None:
            return None
        born = tuple(self.passes[i] for i in sorted(record.births))
        path = record.path[max(i for i in record.births if i < reused[0])]
        holder = record.slot if record.by_key else record.slot[:-1]
        if writing is None or writing.how is How.KEY:
            return Taken(record.kind, path, None, born, self.passes[reused[0]], sure, holder)
        memory = writing.path
        return Taken(record.kind, path, memory, born, self.passes[reused[0]], sure, memory)

    def _is_sure(
        self, record: _Record, new: list[int], reused: list[int], writing: _Writing | None
    ) -> bool | None:
        """Whether the pattern is proof; None where it is not even a hint."""
        if max(new) < min(reused):
            return writing.how is not How.LISTED if writing is not None else None
        new = [i for i in new if self.passes[i].alone]
        reused = [i for i in reused if self.passes[i].alone]
        if not new or not reused or not min(new) < min(reused) < max(new):
            return writing is not None and writing.how is not How.LISTED
        if writing is not None:
            return True
        if self._is_each_nth(range(2, 3), new, reused):
            return False
        if _is_written_beside(record.writings.values(), {*new, *reused}):
            return True
        if self._is_each_nth(range(3, len(self.passes)), new, reused):
            return False
        times = sum(i in new and i + 1 in reused for i in range(len(self.passes)))
        return times > 1 or not record.by_key

    def _is_each_nth(self, ns: range, new: Sequence[int], reused: Sequence[int]) -> bool:
        """Whether what is born in each n-th pass is born in the ones and not in the others."""
        ones, others = ([self.passes[i].number for i in kind] for kind in (new, reused))
        return any(
            len({one % n for one in ones}) == 1 and all((one - ones[0]) % n for one in others)
            for n in ns
        )


def _is_written_beside(writings: Iterable[_Writing], passes: set[int]) -> bool:
    """Whether there is a loop's number beside the thing at all, after each of these passes."""
    return any(one.how is not How.LISTED and passes <= one.held.keys() for one in writings)


def _left_alone(
    writings: Iterable[_Writing], new: Sequence[int], reused: Sequence[int]
) -> _Writing | None:
    """The place whose number was written in the passes with new ids, and left alone in the others.

    The nearest to the thing, where there are several.
    """
    order = list(How)
    fitting = [
        one
        for one in writings
        if all(one.changed_in(i) for i in new)
        and all(i in one.held and not one.changed_in(i) for i in reused)
    ]
    return min(fitting, key=lambda one: order.index(one.how), default=None)
