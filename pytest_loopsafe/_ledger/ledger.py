"""The ledger: each connection and client has a record, from its making to the rest after its end.

It is written while code runs and read when that rests. What was closed in order and is gone leaves
nothing behind, so a watch that lives for days does not grow with what was done in it.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._adapters import Adapters
from pytest_loopsafe._graph.bindings import is_left, is_transport, unsent
from pytest_loopsafe._graph.view import Graph
from pytest_loopsafe._ledger.fates import Fate, fates_of
from pytest_loopsafe._ledger.makers import makers_of
from pytest_loopsafe._ledger.records import Batch, Record, TaskLife
from pytest_loopsafe._probes.clients import ResourceClosed, ResourceMade
from pytest_loopsafe._probes.connections import (
    ConnectionDropped,
    ConnectionFinalized,
    ConnectionMade,
)
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LoopClosing
from pytest_loopsafe._probes.sockets import SocketLent, number_of
from pytest_loopsafe._words.descriptors import identity_of
from pytest_loopsafe._words.loops import LoopInfo, LoopRegistry
from pytest_loopsafe._words.naming import name_thing
from pytest_loopsafe._words.stacks import Frame, users_here

_KEPT = 50
"""So many of what one line made in one loop are looked at: a race has few."""

_DYING = 200
"""So many of those that were collected last may still say that they were open."""


class Ledger:
    """The records of one watch.

    Args:
        loops: the watch's loops.
        adapters: what is known of libraries' clients.

    Attributes:
        fates: at rest, what became of the connections that were open when their loops ended.
        ended: at rest, what was made in the loops that have ended, line by line.
    """

    def __init__(self, loops: LoopRegistry, adapters: Adapters) -> None:
        self._loops = loops
        self._adapters = adapters
        self._by_id: dict[int, Record] = {}
        self._dying: dict[int, Record] = {}
        self._batches: dict[object, Batch] = {}
        self._clients: weakref.WeakKeyDictionary[Any, list[Record]] = weakref.WeakKeyDictionary()
        self._compiled: dict[int, str] = {}
        self._lent: dict[int, weakref.ref[Any]] = {}
        self._closed_loops: set[int] = set()
        self._left: list[Record] = []
        self._cut_off: list[Record] = []
        self._held: list[Record] = []
        self.fates: tuple[Fate, ...] = ()
        self.cut_off: tuple[Record, ...] = ()
        self.ended: tuple[Batch, ...] = ()

    def __len__(self) -> int:
        """How many records there are."""
        return len(self._by_id) + sum(len(one.records) for one in self._batches.values())

    def notes(self) -> tuple[str, ...]:
        """What cannot be seen of the connections of this stretch's loops."""
        kinds = {self._compiled.get(info.number) for info in self._loops.made()} - {None}
        return tuple(
            f"cannot see what is done with connections of {kind}, which are compiled, nor those "
            f"that its servers accept: {', '.join(_cpython.OF_CONNECTIONS)} may miss hazards"
            for kind in sorted(map(str, kinds))
        )

    # -- while code runs -----------------------------------------------------------------------

    def take(self, sighting: Sighting) -> None:
        """Write down what concerns a connection or a client."""
        if isinstance(sighting, ConnectionMade):
            info = self._loops.of(sighting.loop)
            if not _cpython.shows_connections(sighting.loop):
                self._compiled[info.number] = info.kind
                if len(self._compiled) > _KEPT:
                    del self._compiled[next(iter(self._compiled))]
            self._connected(sighting, info)
        elif isinstance(sighting, ResourceMade):
            self._built(sighting, self._loops.of(sighting.loop))
        elif isinstance(sighting, ResourceClosed):
            record = self.of(sighting.resource)
            if record is not None:
                record.closed = True
        elif isinstance(sighting, ConnectionDropped | ConnectionFinalized):
            key = id(sighting.thing)
            record = self.of(sighting.thing) or self._dying.get(key) or self._by_id.get(key)
            # In its finalizer no reference leads to it any more.
            if record is not None and record.ref() in (sighting.thing, None):
                record.collected = True
        elif isinstance(sighting, SocketLent):
            key = id(sighting.sock)
            self._lent[key] = weakref.ref(sighting.sock, lambda _: self._lent.pop(key, None))
        elif isinstance(sighting, LoopClosing):
            self._closing(self._loops.of(sighting.loop))

    def of(self, thing: Any) -> Record | None:
        """The record of an object."""
        record = self._by_id.get(id(thing))
        if record is None:
            return None
        weak = isinstance(record.ref, weakref.ref)
        return record if not weak or record.ref() is thing else None

    def _connected(self, made: ConnectionMade, info: LoopInfo) -> None:
        thing, task = made.thing, _cpython.current_task()
        frames = made.frames
        record = self._enter(thing, name_thing(thing), info, task, frames, is_connection=True)
        clients = self._clients.get(task, ()) if task is not None else ()
        for client in clients:
            client.connections.append(record)
        if task is not None and is_transport(type(thing)):
            self._batch(None, info, record)

    def _built(self, made: ResourceMade, info: LoopInfo) -> None:
        resource, task = made.resource, made.task
        kind = f"{type(resource).__module__}.{type(resource).__qualname__}"
        record = self._enter(resource, kind, info, task, made.frames, is_connection=False)
        if task is not None:
            self._clients.setdefault(task, []).append(record)
        self._batch(kind, info, record)

    def _enter(
        self,
        thing: Any,
        name: str,
        info: LoopInfo,
        task: Any,
        frames: tuple[Frame, ...],
        *,
        is_connection: bool,
    ) -> Record:
        users = []
        known = False
        for user in users_here():
            known |= self._adapters.of(user) is not None
            with suppress(TypeError):  # a class without weak references
                users.append(weakref.ref(user))
        record = Record(
            self._reference(thing),
            name,
            info,
            frames,
            TaskLife(task),
            makers_of(task),
            tuple(users),
            is_connection=is_connection,
            by_client=known,
        )
        self._by_id[id(thing)] = record
        return record

    def _batch(self, kind: str | None, info: LoopInfo, record: Record) -> None:
        site = record.site
        if site is None or site.library:
            return
        key = (kind, site.file, site.line, info.number)
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = Batch(kind, info)
        batch.add(record)
        if len(batch.records) > 2 * _KEPT:
            open_ones = [one for one in batch.records if not one.is_over]
            batch.records = open_ones[-_KEPT:]

    def _reference(self, thing: Any) -> Callable[[], Any]:
        """A weak reference; where the class has none (asyncpg's pool), its address to look up."""
        key, kind = id(thing), type(thing)

        def forget(ref: object, most: int = _DYING) -> None:
            record = self._by_id.get(key)
            if record is not None and record.ref is ref:
                del self._by_id[key]
                # Of what is in a cycle the collector calls this first, and then the finalizer.
                self._dying[key] = record
                if len(self._dying) > most:  # at exit the global may be gone
                    self._dying.pop(next(iter(self._dying)), None)

        try:
            return weakref.ref(thing, forget)
        except TypeError:
            return lambda: next(
                (one for one in gc.get_objects() if id(one) == key and type(one) is kind), None
            )

    def _closing(self, info: LoopInfo) -> None:
        self._closed_loops.add(info.number)
        for key, batch in tuple(self._batches.items()):
            if batch.loop is info:
                if not batch.overlapped:  # of a race the winner may have been closed in order
                    batch.records = [one for one in batch.records if not one.is_over]
                if not batch.records or (batch.of_connections and not batch.overlapped):
                    del self._batches[key]
        for record in tuple(self._by_id.values()):
            if record.loop is info and record.is_connection:
                thing = record.ref()
                if thing is not None and is_left(thing):
                    record.descriptor = _descriptor(thing)
                    record.lent = self._lent_to(thing)
                    self._left.append(record)
                elif thing is not None and (size := unsent(thing)):
                    record.unsent = size
                    self._cut_off.append(record)

    def _lent_to(self, thing: Any) -> tuple[weakref.ref[Any], ...]:
        """The sockets of a server, where the code has given it all of them; else nothing."""
        listening = {sock.fileno() for sock in getattr(thing, "sockets", ())}
        lent = {
            number_of(sock): ref
            for ref in tuple(self._lent.values())
            if listening and (sock := ref()) is not None
        }
        return tuple(lent[one] for one in listening) if listening <= lent.keys() else ()

    # -- at rest -------------------------------------------------------------------------------

    @contextmanager
    def at_rest(self, graph: Graph) -> Iterator[None]:
        """What has ended can be judged in this block, once.

        Args:
            graph: tells who holds what.
        """
        ended = self._closed_loops
        held, fates = fates_of(self._left, self._held, graph)
        self._left, self._held, self.fates = [], held, tuple(fates)
        self.cut_off, self._cut_off = tuple(self._cut_off), []
        self.ended = tuple(one for one in self._batches.values() if one.loop.number in ended)
        try:
            yield
        finally:
            self.fates, self.ended, self.cut_off = (), (), ()
            self._batches = {
                key: one for key, one in self._batches.items() if one.loop.number not in ended
            }
            self._closed_loops = set()
            self._dying.clear()


def _descriptor(thing: Any) -> tuple[int, Hashable] | None:
    """The file descriptor of a connection, and the identity of what is behind it."""
    held = _cpython.descriptor_of(thing)
    try:
        number = held.fileno() if held is not None else -1
    except (OSError, ValueError):  # a pipe that was closed by somebody else
        return None
    identity = identity_of(number) if number >= 0 else None
    return (number, identity) if identity is not None else None
