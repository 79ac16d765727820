"""LS202: a listener of a dead loop that shares its address with a server of a later one.

With ``reuse_port=True`` the kernel deals the connections out among all who listen. Evidence: the
server's loop was closed, its socket is open still, by number and by what is behind it, and a server
of another loop listens at the very same address with a socket of its own. So it has a share of the
connections, and nobody accepts them.
"""

from __future__ import annotations

import socket
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopClosed
from pytest_loopsafe._probes.sockets import LendingProbe, Listening
from pytest_loopsafe._rules.base import Detector, loop_births
from pytest_loopsafe._rules.ls202 import LEAK
from pytest_loopsafe._words.descriptors import identity_of
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.stacks import Frame, Stack, stack_here
from pytest_loopsafe._words.weak import Ref, weak

_MAX_LISTENERS = 200


@dataclass
class _Listener:
    """A listening socket, by its number and what is behind it; `ended` once its loop was closed."""

    server: Ref
    loop: LoopInfo
    made: tuple[Frame, ...]
    number: int
    identity: Hashable
    ended: bool = False

    def is_open(self) -> bool:
        return identity_of(self.number) == self.identity


class ListenerOfDeadLoop(Detector):
    """LS202 for what listens."""

    rules = (LEAK,)
    probes = (LendingProbe(), LifeProbe())
    judges = (Listening, LoopClosed)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._at: dict[tuple[Any, ...], list[_Listener]] = {}

    def follow(self, elder: Self) -> None:
        """Know what listens on: it does not end with the test that left it."""
        self._at = elder._at

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note where a server listens; report who else does, for a loop that is gone."""
        if isinstance(sighting, LoopClosed):
            yield from self._closed(self.loops.of(sighting.loop))
            return
        assert isinstance(sighting, Listening)
        now = self.loops.of(sighting.loop)
        for sock in sighting.server.sockets:
            if sock.family not in (socket.AF_INET, socket.AF_INET6):
                continue  # a path leads to one listener only
            address = (sock.family, *sock.getsockname()[:2])
            number = sock.fileno()
            identity = identity_of(number)
            if identity is None:  # what cannot be known again is nobody's
                continue
            here = _Listener(weak(sighting.server), now, stack_here(), number, identity)
            others = [one for one in self._at.pop(address, ()) if one.is_open()]
            self._at[address] = [*others, here]
            for other in others:
                if other.ended and other.identity != here.identity:
                    yield self._shares(here, other, f"{address[1]}:{address[2]}")
        while len(self._at) > _MAX_LISTENERS:
            del self._at[next(iter(self._at))]

    def _closed(self, gone: LoopInfo) -> Iterator[Observation]:
        for address, listeners in self._at.items():
            if all(one.loop is not gone for one in listeners):
                continue
            listeners[:] = [one for one in listeners if one.is_open()]
            for other in [one for one in listeners if one.loop is gone]:
                other.ended = True
                for here in listeners:
                    if not here.ended and here.identity != other.identity and here.loop is not gone:
                        yield self._shares(here, other, f"{address[1]}:{address[2]}")

    @staticmethod
    def _shares(here: _Listener, other: _Listener, address: str) -> Observation:
        return Observation(
            Finding(
                LEAK,
                f"a server of {here.loop} listens on {address}, and so does another of "
                f"{other.loop}, which is closed: that one was never closed, it takes its share of "
                "the connections (SO_REUSEPORT), and nobody accepts them",
                here.loop,
                other.loop,
                (
                    Stack(f"one was made in {here.loop}", here.made),
                    Stack(f"the other was made in {other.loop}", other.made),
                    *loop_births(other.loop, here.loop),
                ),
                "Close the server before its loop ends, `async with server`: the operating system "
                "does not know that its loop has.",
                home_state="closed",
            ),
            about=tuple(one for one in (other.server(),) if one is not None),
            identity=address,
        )
