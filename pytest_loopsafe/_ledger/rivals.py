"""Several of the like were made in one loop: was there to be one only, and which is it?

One of them has a slot, by the user's own names. The others were made by the same line at the same
time, nobody holds them, and nobody has closed them: they are lost. Or they were made one after the
other for that slot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_loopsafe import _cpython
from pytest_loopsafe._cpython import namespace_of
from pytest_loopsafe._graph.roots import modules
from pytest_loopsafe._graph.view import Graph
from pytest_loopsafe._ledger.makers import filled_by, filled_if_empty_by
from pytest_loopsafe._ledger.records import Batch, Maker, Record
from pytest_loopsafe._words.stacks import module_file

_NAMES = re.compile(r"\w+")


@dataclass(frozen=True)
class Rivalry:
    """Of several, the one that has the place, and those that are lost.

    Attributes:
        winner: the one that somebody holds, or that was closed in order.
        place: where it is held, or was before it was closed, or what that is called.
        path: the same as Python that leads there; None where that is not known.
        lost: those that nobody holds and nobody closed.
    """

    winner: Record
    place: str
    path: str | None
    lost: tuple[Record, ...]


def rivalry(batch: Batch, graph: Graph) -> Rivalry | None:
    """Judge a batch; None where each has a place of its own, or none has."""
    if batch.of_connections:
        return _among_connections(batch, graph)
    return _among_clients(batch, graph)


def _among_clients(batch: Batch, graph: Graph) -> Rivalry | None:
    def is_closed(record: Record) -> bool:
        resource = record.ref()
        return record.closed or (
            resource is not None and graph.adapters.is_closed(resource) is True
        )

    winner, place = None, None
    wanted: tuple[Maker, ...] = ()
    for record in reversed(batch.records):
        resource = record.ref()
        owners = graph.owners(resource) if resource is not None else ()
        owner = next((one for one in owners if one.own and not one.hidden), None)
        if owner is not None:
            if winner is not None:
                return None  # each is held: they are several on purpose
            winner, place = record, owner.path
    lost = [one for one in batch.records if one is not winner and not is_closed(one)]
    if winner is None:
        # Nothing of the others is left. Of uvloop's connections nothing is seen.
        lost = [one for one in lost if one.left_open or not _cpython.shows_kind(batch.loop.kind)]
        closed = [one for one in batch.records if is_closed(one)]
        fillers = tuple(filter(filled_by, closed[0].makers)) if closed else ()
        if lost and fillers:
            # Some were closed and are gone, others are lost: they were for one and the same place.
            winner, wanted = closed[0], fillers
    return _rivalry(winner, place, wanted, lost, graph)


def _among_connections(batch: Batch, graph: Graph) -> Rivalry | None:
    """Whose are a client's that no adapter knows, or of the user's own making.

    Which of the functions that ran is the one that fills the place is read from what it writes to
    and from the path to the winner. Of the lost ones another call of it was on its way. Where all
    were closed nobody has lost one: most code that opens several at once does that, and whose each
    was, which may be a search of the heap, need not be asked.
    """
    rivals = [one for one in batch.records if not one.by_client]
    if not any(one.left_open for one in rivals):
        return None
    unheld: list[Record] = []
    winner, place = None, None
    wanted: tuple[Maker, ...] = ()
    for record in rivals:
        thing = record.ref()
        owners = graph.owners(thing) if thing is not None else ()
        if record.left_open and (record.collected or not owners):
            unheld.append(record)
        for owner in owners:
            names = set(_NAMES.findall(owner.path))
            fillers = tuple(one for one in record.makers if not names.isdisjoint(filled_by(one)))
            if owner.own and not owner.hidden and fillers:
                if any(graph.adapters.of(part) is not None for part in owner.chain[:-1]):
                    return None
                winner, place, wanted = record, owner.path, fillers
    if winner is None:
        # It may have been closed in order, as the last thing that its loop did.
        for record in rivals:
            lookers = tuple(one for one in record.makers if filled_if_empty_by(one))
            if lookers and not record.left_open:
                winner, wanted = record, lookers
    calls = {one.key: one.call for one in wanted}
    lost = tuple(
        record
        for record in unheld
        if any(calls.get(one.key, one.call) != one.call for one in record.makers)
    )
    return _rivalry(winner, place, wanted, lost, graph)


def _rivalry(
    winner: Record | None,
    path: str | None,
    fillers: tuple[Maker, ...],
    lost: Sequence[Record],
    graph: Graph,
) -> Rivalry | None:
    if winner is None:
        return None
    path = path or _filled(winner, fillers, graph)
    names = sorted({name for one in fillers for name in filled_by(one)})
    return Rivalry(winner, path or " or ".join(names), path, tuple(lost))


def _filled(record: Record, makers: tuple[Maker, ...], graph: Graph) -> str | None:
    """What these have filled, and is empty by now: a variable of a module, an attribute.

    Of several names any may be the one: then the object that has them.
    """
    names = sorted({name for one in makers for name in filled_by(one)})
    only = names[0] if len(names) == 1 else None
    users = [user for ref in record.users if (user := ref()) is not None]
    bearer = next((one for one in users if any(id(one) == two.bearer for two in makers)), None)
    path = graph.path((bearer,)) if bearer is not None else None
    if path is not None:
        return f"{path}.{only}" if only else path
    files = {one.code.co_filename for one in makers}
    for module, namespace in modules():
        if only and module_file(module) in files and only in namespace_of(namespace):
            return f"{module}.{only}"
    return None
