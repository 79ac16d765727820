"""Seeing the sockets that loops are given (``sock=``), and what becomes of them.

A loop closes such a socket with the server or the transport that has it, uvloop at the latest when
it is closed itself. What is compiled in uvloop, its transports and servers, is seen where its
methods give them back.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.connections import ConnectionMade
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._words.ways import LetGo
from pytest_loopsafe._words.weak import Ref, weak


@dataclass(frozen=True)
class SocketLent(Sighting):
    """A loop is about to be given a socket, which is its own from here on."""

    loop: asyncio.AbstractEventLoop
    sock: socket.socket


@dataclass(frozen=True)
class SocketRefused(Sighting):
    """A closed socket was given to a loop, or used by hand; `method` is what was called."""

    sock: socket.socket
    method: str
    error: BaseException
    let_go: LetGo


@dataclass(frozen=True)
class Listening(Sighting):
    """A loop has made a server, which listens, and goes on when it is closed; uvloop's do not."""

    loop: asyncio.AbstractEventLoop
    server: Any


_MAKERS = (
    "connect_accepted_socket",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
)
_USES = (
    *("accept", "bind", "connect", "dup", "listen", "send", "sendall", "sendmsg", "sendto"),
    *("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into"),
)
"""What needs an open socket. To shut it down and to close it are how code makes sure."""

ASKS = ("getpeername", "getsockname", "getsockopt")
"""How code finds out whether a socket is open."""


class LendingProbe:
    """Sees the methods of loops that take a socket. Uses by hand are seen once it can matter."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook these methods, and ``close``; a socket's own when one went down with its loop."""
        lent: dict[int, tuple[Ref, Ref]] = {}  # the socket and its loop, by the socket's id()

        def lend(sock: Any, loop: Any) -> None:
            key = id(sock)

            def forget(ref: object) -> None:
                if lent.get(key, (None,))[0] is ref:
                    del lent[key]

            lent[key] = weakref.ref(sock, forget), weak(loop)
            emit(SocketLent(loop, sock))

        def refused(sock: Any, method: str, error: BaseException) -> Any:
            let_go = LetGo()
            sentinel = let_go.sentinel()
            emit(SocketRefused(sock, method, error, let_go))
            return sentinel

        async def making(original: Any, loop: Any, sock: Any, args: Any, kwargs: Any) -> Any:
            __tracebackhide__ = True
            try:
                made = await original(loop, *args, **kwargs)
            except (OSError, ValueError) as error:
                if sock is not None and is_closed(sock):
                    _dies_with_the_error = refused(sock, original.__name__, error)
                raise
            seen = made[0] if type(made) is tuple else made
            if not _cpython.shows_connections(loop):
                emit(ConnectionMade(seen, loop))
            elif "server" in original.__name__:
                emit(Listening(loop, seen))
            return made

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            by_position = 1 if original.__name__ == "connect_accepted_socket" else None
            makes_server = "server" in original.__name__

            def make(self: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                sock = kwargs.get("sock")
                if by_position is not None and len(args) > by_position:
                    sock = args[by_position]
                if not issubclass(type(sock), _SOCKET):
                    sock = None
                    if _cpython.shows_connections(self) and not makes_server:
                        return original(self, *args, **kwargs)
                else:
                    lend(sock, self)
                return making(original, self, sock, args, kwargs)

            return make

        def build_use(original: Callable[..., Any]) -> Callable[..., Any]:
            name = original.__name__

            def use(self: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                try:
                    return original(self, *args, **kwargs)
                except OSError as error:
                    if error.errno == errno.EBADF and is_closed(self):
                        _dies_with_the_error = refused(self, name, error)
                    raise

            return use

        hooked: list[str] = []

        # While a loop lives the methods of sockets are left as they are: they are on its way.
        def build_close(original: Callable[..., Any]) -> Callable[..., Any]:
            def close(self: Any) -> Any:
                __tracebackhide__ = True
                result = original(self)
                if not hooked and any(loop() is self for _, loop in tuple(lent.values())):
                    hooked.append("for good")
                    for name in (*_USES, *ASKS):
                        patches.replace(_SOCKET, name, build_use)
                return result

            return close

        for name in _MAKERS:
            patches.on_loop_classes(name, build, inherited=True)
        patches.on_loop_classes("close", build_close, inherited=True)


def is_closed(sock: Any) -> bool:
    """Whether a socket is closed or gone, past any method of its class."""
    return sock is None or number_of(sock) == -1


def number_of(sock: Any) -> int:
    """The number of a socket's descriptor, past any method of its class."""
    return _SOCKET.fileno(sock)


_SOCKET = socket.socket
"""As it was when nobody had put another one in its place (pytest-socket)."""
