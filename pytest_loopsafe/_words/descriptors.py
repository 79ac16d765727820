"""What the operating system says of file descriptors: which are sockets, and of what kind.

Asked of copies, by the C class: a test may forbid ``socket.socket`` (pytest-socket). On Windows the
number of a socket is a handle, which only functions of sockets know, and nothing lists them.
"""

from __future__ import annotations

import _socket
import os
import socket
import struct
import sys
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from stat import S_ISSOCK
from typing import Any

Address = tuple[int, Any]
"""A family, and an address of it."""


@dataclass(frozen=True)
class Conversation:
    """A connection that this process has opened.

    Attributes:
        number: its descriptor.
        identity: what is behind that.
        peer: the other side.
        both_ways: whether both sides have sent something already; of a path nobody knows.
    """

    number: int
    identity: Hashable
    peer: str
    both_ways: bool

    def is_there(self) -> bool:
        """Whether the number still stands for it."""
        return identity_of(self.number) == self.identity


_MOST_ASKED = 1024
"""Descriptors are counted from 0 on, and more than so many are allowed to few processes."""


def identity_of(number: int) -> Hashable | None:
    """What is behind a descriptor; None where that is closed."""
    with suppress(OSError):
        if sys.platform == "win32":  # what a socket has no number of there, it has an address for
            with _copy(number) as sock:
                return number, sock.family, sock.getsockname()
        return os.fstat(number).st_ino
    return None


def numbers() -> tuple[int, ...]:
    """All descriptors of this process; none on Windows.

    Where nothing lists them (a chroot without ``/proc``), the first ones are asked for one by one.
    """
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError, ValueError):
            return tuple(map(int, os.listdir(folder)))
    if sys.platform == "win32":
        return ()
    return tuple(number for number in range(_MOST_ASKED) if identity_of(number) is not None)


@contextmanager
def _copy(number: int) -> Iterator[Any]:
    copy = _socket.dup(number)
    try:
        sock = _socket.socket(fileno=copy)
    except OSError:  # no socket
        os.close(copy)
        raise
    try:
        yield sock
    finally:
        sock.close()


def peer_of(number: int) -> Address | None:
    """Where a socket is connected to."""
    with suppress(OSError), _copy(number) as sock:
        return sock.family, sock.getpeername()
    return None


def listens_at(number: int) -> Address | None:
    """Where a socket listens."""
    with suppress(OSError), _copy(number) as sock:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return sock.family, sock.getsockname()
    return None


def leads_to(peer: Address, listener: Address) -> bool:
    """Whether who is connected there is connected to this listener."""
    if type(peer[1]) is not tuple or type(listener[1]) is not tuple:
        return bool(peer[1]) and peer == listener
    host, port = listener[1][:2]
    return bool(port == peer[1][1] and (host in ("0.0.0.0", "::") or peer == listener))


def written(address: Address) -> str:
    """An address for people."""
    where = address[1]
    return f"{where[0]}:{where[1]}" if type(where) is tuple else str(where)


def conversations() -> Iterator[Conversation]:
    """The connections that this process has opened, and not accepted, and talks over."""
    for number in numbers():
        with suppress(OSError):
            status = os.fstat(number)
            if S_ISSOCK(status.st_mode):
                found = _conversation(number, status.st_ino)
                if found is not None:
                    yield found


def _conversation(number: int, identity: int) -> Conversation | None:
    with _copy(number) as sock:
        if sock.type != socket.SOCK_STREAM:
            return None  # each datagram is whole, and nobody waits for it
        peer = sock.family, sock.getpeername()
        if sock.family == getattr(socket, "AF_UNIX", None):
            # Who has accepted it has the path, and who has opened it the peer's; a pair has none.
            opened = bool(peer[1]) and not sock.getsockname()
            return Conversation(number, identity, written(peer), False) if opened else None
        sent, acknowledged, received = _traffic(sock)
        # To open it is acknowledged, too, and to accept it is not: so the one is ahead by one.
        if sent and received and acknowledged > sent:
            return Conversation(number, identity, written(peer), True)
    return None


_BYTES_ACKED, _BYTES_RECEIVED, _BYTES_SENT = 120, 128, 200
"""Where Linux has them in ``struct tcp_info``, the last one since 4.19."""


def _traffic(sock: Any) -> tuple[int, int, int]:
    option = getattr(socket, "TCP_INFO", None)
    if option is None or sys.platform != "linux":  # FreeBSD's has the name, and others in it
        return 0, 0, 0
    known = sock.getsockopt(socket.IPPROTO_TCP, option, 256)
    if len(known) < _BYTES_SENT + 8:
        return 0, 0, 0
    places = (_BYTES_SENT, _BYTES_ACKED, _BYTES_RECEIVED)
    sent, acknowledged, received = (struct.unpack_from("=Q", known, at)[0] for at in places)
    return sent, acknowledged, received
