"""What became of a connection that was open when its loop ended: told at each rest, by slots.

Nobody holds it: it was left. A global holds it: that may be a client which looks at its loop when
it is used next, so it is judged later. If it has gone from there by then, unclosed, and another
thing has its place, it was replaced; if nothing has, it was left. If it is still in its place, it
is stale, which is another rule's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.bindings import is_left
from pytest_loopsafe._graph.view import Graph
from pytest_loopsafe._ledger.records import Record, Slot


@dataclass(frozen=True)
class Fate:
    """What became of a connection; `successor` has its place now, None where it was just left."""

    record: Record
    successor: Record | None = None


def fates_of(
    left: Iterable[Record], held: Iterable[Record], graph: Graph
) -> tuple[list[Record], list[Fate]]:
    """Judge what has been left.

    Args:
        left: the connections of loops that have ended since the last rest.
        held: those that somebody held at the last rest.
        graph: tells who holds what.

    Returns:
        The connections that somebody holds still, and the fates of the others.
    """
    kept: list[Record] = []
    fates: list[Fate] = []
    earlier = list(held)
    for record in left:
        if _find_slot(record, graph):
            kept.append(record)
        else:
            fates.append(Fate(record))
    now = list(kept)
    for record in earlier:
        thing = record.ref()
        if not _cpython.shows_kind(record.loop.kind):
            continue  # uvloop closes what it has when it is closed: nothing leaks
        if thing is not None and not is_left(thing):
            continue  # closed after all
        before = record.slot
        if thing is not None and _find_slot(record, graph):
            kept.append(record)
        elif (thing is not None or record.collected) and before is not None:
            fates.append(Fate(record, _successor(record, before, now)))
    return kept, fates


def _find_slot(record: Record, graph: Graph) -> bool:
    thing = record.ref()
    owners = graph.owners(thing) if thing is not None else ()
    owner = next((owner for owner in owners if not owner.hidden), None)
    if owner is not None:
        record.slot = Slot.of(owner, graph.readable(owner))
    return owner is not None


def _successor(record: Record, slot: Slot, now: Iterable[Record]) -> Record | None:
    """The connection of a later loop that has a slot's place, or was made for its holder."""
    holders = {id(one) for ref in slot.holders if (one := ref()) is not None}
    for other in now:
        if other.loop.number <= record.loop.number:
            continue
        users = {id(one) for ref in other.users if (one := ref()) is not None}
        in_place = other.slot is not None and other.slot.root == slot.root
        if in_place or not holders.isdisjoint(users):
            return other
    return None
