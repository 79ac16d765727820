"""A real loop to try things on, and real transports, without a socket: for the canaries.

It is asyncio's own selector loop on a selector that watches nothing. What a canary wants made is
made through the documented methods (``create_connection(sock=...)``), by the code that makes it for
everybody. Rejected: a socketpair and a real selector, since a test may count descriptors, or forbid
sockets, and is not to know that anybody looked.

Where asyncio's proactor loop is loaded (Windows loads it), there is one of these too, on a proactor
to which nothing ever happens.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import selectors
import socket
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from pytest_loopsafe._cpython.loops import BaseEventLoop, running
from pytest_loopsafe._cpython.topic import TRIAL, find

_SelectorLoop: Any = find("unix_events", "_UnixSelectorEventLoop", None) or find(
    "selector_events", "BaseSelectorEventLoop", BaseEventLoop
)
_ROUNDS = 200
_numbers = itertools.count(1 << 20)
"""Numbers that no descriptor has; they are never shown to the operating system."""


class NoSelector(selectors.BaseSelector):
    """Watches nothing. Where nothing can happen any more it says so, and does not wait for it."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self._rounds = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Nothing is ready, ever."""
        self._rounds += 1
        if timeout is None or self._rounds > _ROUNDS:
            raise RuntimeError("the loop waits for what will never come")
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Note that a loop watches this."""
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, fileobj, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Forget it."""
        return self._keys.pop(fileobj)

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        """What is watched."""
        return self._keys


class NoSocket:
    """What a transport needs of a socket: a peer that takes everything and says nothing."""

    family, proto = socket.AF_UNIX if hasattr(socket, "AF_UNIX") else -1, 0

    def __init__(self, kind: int = socket.SOCK_STREAM) -> None:
        self.type = kind
        self._number = next(_numbers)

    def fileno(self) -> int:
        """A number that no descriptor has; -1 once it is closed."""
        return self._number

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def getsockname(self) -> str:
        """It has no name."""
        return ""

    getpeername = getsockname

    def listen(self, backlog: int) -> None:
        """Nobody will call."""

    def send(self, data: bytes) -> int:
        """All of it is taken."""
        return len(data)

    def close(self) -> None:
        """From here on it is closed."""
        self._number = -1


class _Trial:
    """Without the pair of sockets by which other threads wake a loop, and without a line of log."""

    def _close_self_pipe(self) -> None:
        return

    def _write_to_self(self) -> None:
        return

    def create_task(self: Any, coro: Any, **kwargs: Any) -> Any:
        """A task by a name that is none of asyncio's."""
        return asyncio.Task(coro, loop=self, **{**kwargs, "name": TRIAL})

    def turn(self: Any) -> None:
        """Run what is scheduled."""
        self.run_until_complete(asyncio.sleep(0))

    def settle(self) -> None:
        """Run until all is done that a canary has begun: more than enough, and an end."""
        for _ in range(5):
            self.turn()


class _TrialLoop(_Trial, _SelectorLoop):  # type: ignore[misc]
    """What the constructors of selector loops do is done here."""

    def __init__(self) -> None:
        BaseEventLoop.__init__(self)
        self.set_debug(False)
        self._selector = NoSelector()
        self._transports: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._signal_handlers: dict[int, Any] = {}
        self._unix_server_sockets: dict[Any, Any] = {}


class _NoProactor:
    """What a transport needs of a proactor: all is sent at once, and nothing is ever received."""

    def __init__(self, loop: Any) -> None:
        self._loop = weakref.ref(loop)

    def send(self, conn: Any, data: bytes, *_: Any, **__: Any) -> Any:
        """All of it is taken."""
        sent = self._future()
        sent.set_result(len(data))
        return sent

    sendto = send

    def recv(self, conn: Any, *_: Any) -> Any:
        """Nothing comes."""
        return self._future()

    recv_into = recvfrom = recvfrom_into = recv

    def _future(self) -> Any:
        return asyncio.Future(loop=self._loop())


@functools.cache
def _proactor_kind() -> Any:
    """The class of such a loop, made when it is first asked for: its base may not be loaded."""
    base: Any = sys.modules["asyncio.proactor_events"].BaseProactorEventLoop

    class _TrialProactorLoop(_Trial, base):  # type: ignore[misc]
        def __init__(self) -> None:
            BaseEventLoop.__init__(self)
            self.set_debug(False)
            self._selector, self._proactor = NoSelector(), _NoProactor(self)
            self._self_reading_future = None
            self._accept_futures: dict[int, Any] = {}

        def close(self) -> None:
            """Without taking the wake-up descriptor of the loop that runs here."""
            BaseEventLoop.close(self)

        def _process_events(self, event_list: list[Any]) -> None:
            return

    return _TrialProactorLoop


Opens = Callable[[], AbstractContextManager[Any]]


@contextmanager
def trial_loop(kind: Callable[[], Any] = _TrialLoop) -> Iterator[Any]:
    """A loop that can be run, also inside a running one; closed at the end of the block."""
    with running(None):
        loop = kind()
        try:
            yield loop
        finally:
            loop.close()


def trial_proactor_loop() -> AbstractContextManager[Any]:
    """The same, of the loop that is Windows' own; only where that is loaded."""
    return trial_loop(_proactor_kind())


def stream(loop: Any) -> Any:
    connecting = loop.create_connection(asyncio.Protocol, sock=NoSocket())
    return loop.run_until_complete(connecting)[0]


def datagrams(loop: Any) -> Any:
    sock = NoSocket(socket.SOCK_DGRAM)
    connecting = loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sock)
    return loop.run_until_complete(connecting)[0]


def tls(loop: Any) -> Any:
    """A TLS transport in the middle of its handshake."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    transport = loop._make_ssl_transport(
        NoSocket(), asyncio.Protocol(), context, server_hostname="localhost"
    )
    loop.turn()
    return transport


def _device(mode: str) -> Any:
    """What a pipe's transport takes for a pipe, and what costs one descriptor for a moment."""
    return open(os.devnull, mode, buffering=0)  # the transport closes it


def pipe_to_read(loop: Any) -> Any:
    connecting = loop.connect_read_pipe(asyncio.Protocol, _device("rb"))
    return loop.run_until_complete(connecting)[0]


def pipe_to_write(loop: Any) -> Any:
    connecting = loop.connect_write_pipe(asyncio.BaseProtocol, _device("wb"))
    return loop.run_until_complete(connecting)[0]


@contextmanager
def made(make: Callable[[Any], Any], opens: Opens) -> Iterator[tuple[Any, Any]]:
    """A transport and its loop, which `opens` gives; both are closed at the end of the block."""
    with opens() as loop:
        transport = make(loop)
        try:
            yield transport, loop
        finally:
            if not transport.is_closing():
                # What only reads has no abort(), or one that nobody has written.
                (transport.close if make is pipe_to_read else transport.abort)()
            loop.turn()
