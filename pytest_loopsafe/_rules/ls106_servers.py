"""For LS106: connections to servers whose loops stand still, so that nobody accepts or answers.

Told by the operating system: a socket of this process is connected to the address where another
one of it listens, and the loop that has that one is open and not run. Noted while a pass hangs, in
a signal handler, for afterwards these loops may be closed; once for each hang, so the heap is read.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.bindings import binding_of, is_server
from pytest_loopsafe._words.descriptors import (
    Address,
    leads_to,
    listens_at,
    numbers,
    peer_of,
    written,
)
from pytest_loopsafe._words.loops import state_of


@dataclass(frozen=True)
class Unserved:
    """A connection that only a loop that stands still could serve.

    Attributes:
        loop: that loop.
        listener: its server; the loop where it has a socket alone.
        address: where it listens.
    """

    loop: asyncio.AbstractEventLoop
    listener: Any
    address: str


def unserved(waiting: asyncio.AbstractEventLoop | None) -> Unserved | None:
    """The first such connection among those that a loop watches; of all, where it shows none.

    Args:
        waiting: the loop that hangs; None where a thread blocks outside of any.
    """
    here = _cpython.watched_descriptors(waiting) if waiting is not None else ()
    peers = {peer for number in here or numbers() if (peer := peer_of(number)) is not None}
    alone: dict[Address, Unserved] = {}
    for loop, listener, listening in _listeners() if peers else ():
        for address in map(listens_at, listening):
            for peer in peers:
                if address is not None and leads_to(peer, address):
                    if state_of(loop) != "paused":
                        return None  # that one may serve it
                    alone.setdefault(peer, Unserved(loop, listener, written(peer)))
    return next(iter(alone.values()), None)


def _listeners() -> Iterator[tuple[asyncio.AbstractEventLoop, Any, Iterable[int]]]:
    """All that listens: servers, and loops that wait for a listening socket themselves."""
    loops = []
    for one in gc.get_objects():
        kind = type(one)
        if issubclass(kind, asyncio.AbstractEventLoop):
            loops.append(one)
        elif is_server(kind):
            binding = binding_of(one)
            if binding is not None and binding.live:
                yield binding.loop, one, [sock.fileno() for sock in one.sockets]
    for loop in loops:
        if not loop.is_closed():
            yield loop, loop, _cpython.watched_descriptors(loop)
