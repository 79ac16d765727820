"""LS303: what a connection had still to send, that was closed without waiting, is lost."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pytest_loopsafe

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MUCH = 5_000_000


class Peer:
    """The other end, which reads nothing until it is told to."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []

    async def connected(self) -> tuple[socket.socket, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.sockets.append(theirs)
        _, writer = await asyncio.open_connection(sock=ours)
        return theirs, writer

    async def read(self, theirs: socket.socket) -> int:
        received = 0
        while chunk := await asyncio.get_running_loop().sock_recv(theirs, 1 << 20):
            received += len(chunk)
        return received


@pytest.fixture
def peer() -> Iterator[Peer]:
    one = Peer()
    yield one
    for theirs in one.sockets:
        theirs.close()


async def closed_at_once(peer: Peer) -> None:
    _, writer = await peer.connected()
    writer.write(b"x" * MUCH)
    writer.close()


async def kept_and_closed_at_once(peer: Peer) -> Any:
    _, writer = await peer.connected()
    writer.write(b"x" * MUCH)
    writer.close()
    return writer


async def waited_for(peer: Peer) -> None:
    theirs, writer = await peer.connected()
    writer.write(b"x" * MUCH)
    writer.close()
    received, _ = await asyncio.gather(peer.read(theirs), writer.wait_closed())
    assert received == MUCH


async def little(peer: Peer) -> None:
    """It fits into the socket: by the time of the close it is sent."""
    _, writer = await peer.connected()
    writer.write(b"x")
    writer.close()


async def given_up(peer: Peer) -> None:
    """Whoever aborts wants nothing sent."""
    _, writer = await peer.connected()
    writer.write(b"x" * MUCH)
    writer.transport.abort()


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads"])
@pytest.mark.parametrize("body", [closed_at_once, kept_and_closed_at_once])
def test_what_was_still_to_be_sent_is_lost(
    body: Callable[[Peer], Any], schedule: str, peer: Peer
) -> None:
    report = pytest_loopsafe.run(body, peer, schedule=schedule, check=False)
    (found,) = report.findings
    assert (found.code, str(found.severity), found.count) == ("LS303", "warning", 3)
    assert "bytes still to send when loop 1 ended" in found.message
    assert "wait_closed" in found.remedy


@pytest.mark.parametrize("body", [waited_for, little, given_up])
def test_what_is_sent_or_given_up_is_in_order(body: Callable[[Peer], Any], peer: Peer) -> None:
    assert pytest_loopsafe.run(body, peer).findings == ()
