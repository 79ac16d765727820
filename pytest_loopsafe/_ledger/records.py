"""The records: what is written down of a connection or a client, while code runs.

A record keeps nothing alive: weak references, code objects and lines.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.bindings import is_left
from pytest_loopsafe._graph.owners import Owner
from pytest_loopsafe._probes.sockets import is_closed
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.stacks import Frame, Stack

_RIVALS = 8
"""Of so many the tasks alongside are kept: a race has few, and a server many tasks."""


class TaskLife:
    """A task that makes something, and which other tasks lived at that moment.

    What such a task makes later was wanted at the same time: it lived before there was a first.
    """

    def __init__(self, task: Any) -> None:
        self._task = weakref.ref(task) if task is not None else None
        self._alongside: weakref.WeakSet[Any] | tuple[()] = ()

    def is_of(self, task: Any) -> bool:
        """Whether it is the life of this task."""
        return task is not None and self._task is not None and self._task() is task

    def overlaps(self, earlier: Iterable[TaskLife]) -> bool:
        """Whether it lived alongside one that made the like before, in the same loop.

        Args:
            earlier: those that did, the first ones first.
        """
        task = self._task() if self._task is not None else None
        if task is None:
            return False
        rivals = list(itertools.islice(earlier, _RIVALS))
        if len(rivals) < _RIVALS:
            self._alongside = weakref.WeakSet(_cpython.all_tasks(task.get_loop()))
        return any(task in one._alongside and not one.is_of(task) for one in rivals)


@dataclass(frozen=True)
class Maker:
    """A function of the user's that was running when something was made.

    Attributes:
        code: what it runs.
        line: where it was.
        bearer: the ``id()`` of its object where it is a method. Two objects have a place each; they
            live at the same time, so the number tells them apart.
        call: which call of it: one that makes several itself is no race with itself.
    """

    code: CodeType
    line: int
    bearer: int | None
    call: int

    @property
    def key(self) -> tuple[int, int | None]:
        """The function, of this object."""
        return id(self.code), self.bearer


@dataclass(frozen=True)
class Slot:
    """Where something is held, by the user's own names.

    Attributes:
        path: Python that leads to it.
        root: where the path begins, ``app.db.client``.
        holders: the objects on the way that have weak references, the outermost first.
    """

    path: str
    root: str
    holders: tuple[weakref.ref[Any], ...]

    @classmethod
    def of(cls, owner: Owner, path: str) -> Slot:
        """The slot that an owner describes, under the path by which its reader knows it."""
        holders = []
        for one in owner.chain[:-1]:
            with suppress(TypeError):
                holders.append(weakref.ref(one))
        return cls(path, owner.root, tuple(holders))


@dataclass(eq=False)
class Record:
    """One connection or client.

    Attributes:
        ref: gives it, as long as it lives.
        name: how a report calls it.
        loop: the loop in which it was made.
        made: where it was made.
        life: the task that made it.
        makers: the user's functions that ran then, the outermost first.
        users: the objects whose methods ran then, the innermost first.
        is_connection: whether it is a transport or a server, and no client of a library.
        by_client: whether a client that an adapter knows has opened it.
        closed: somebody has closed it: a client's own method was called.
        collected: it was still open when the collector took it.
        descriptor: of a connection that was open when its loop ended: the number of its socket, and
            what is behind it.
        lent: of a server that was open when its loop ended, and has nothing but sockets that the
            code had given to its loop: these sockets.
        unsent: how many bytes it had still to send, that was being closed when its loop ended.
        slot: where it was held at the last rest; None where nobody held it.
        connections: of a client, those that its task opened.
    """

    ref: Callable[[], Any]
    name: str
    loop: LoopInfo
    made: tuple[Frame, ...]
    life: TaskLife
    makers: tuple[Maker, ...]
    users: tuple[weakref.ref[Any], ...]
    is_connection: bool
    by_client: bool
    closed: bool = False
    collected: bool = False
    descriptor: tuple[int, Hashable] | None = None
    lent: tuple[weakref.ref[Any], ...] = ()
    unsent: int = 0
    slot: Slot | None = None
    connections: list[Record] = field(default_factory=list)

    @property
    def site(self) -> Frame | None:
        """The line of the user's that made it."""
        return Stack("", self.made).site

    @property
    def is_over(self) -> bool:
        """Whether it is gone, and was not left open."""
        if not isinstance(self.ref, weakref.ref) or self.ref() is not None:
            return False
        return not self.collected and (self.closed or all(one.is_over for one in self.connections))

    @property
    def is_lent(self) -> bool:
        """Whether it is gone, and the code has its sockets and goes on with them."""
        socks = [ref() for ref in self.lent]
        return bool(socks) and self.ref() is None and not any(map(is_closed, socks))

    @property
    def left_open(self) -> bool:
        """Whether it, or a connection of it, was dropped while open, or is open still."""
        if self.is_connection:
            thing = self.ref()
            return self.collected or (thing is not None and is_left(thing))
        return any(one.left_open for one in self.connections)


@dataclass(eq=False)
class Batch:
    """What one line of the user's made in one loop.

    Attributes:
        kind: the class of the client that was made; None for connections.
        loop: the loop.
        records: those that live, and those that died unclosed; of the others nothing is kept.
        built: how many there were.
        overlapped: whether two were made by tasks that lived at the same time.
    """

    kind: str | None
    loop: LoopInfo
    records: list[Record] = field(default_factory=list)
    built: int = 0
    overlapped: bool = False

    @property
    def of_connections(self) -> bool:
        """Whether it is of connections, and not of clients that an adapter knows."""
        return self.kind is None

    def add(self, record: Record) -> None:
        """One more was made."""
        self.built += 1
        self.overlapped |= record.life.overlaps(one.life for one in self.records)
        self.records.append(record)
