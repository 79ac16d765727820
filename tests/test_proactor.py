"""On Windows `asyncio.run()` runs the proactor loop: its transports are seen as all others are.

The loop is asyncio's own, over a stand-in for the part that only Windows has (`proactor_loop`).
"""

import asyncio
import gc
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pytest_loopsafe

if sys.platform == "win32":
    from asyncio import ProactorEventLoop
else:
    from proactor_loop import ProactorEventLoop

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Kept:
    """What outlives the loops."""

    reader: Any
    writer: Any
    datagrams: Any


kept = Kept()
PEER = Kept()


@pytest.fixture(autouse=True)
def _peers() -> Iterator[None]:
    """Somebody who listens, and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    other = socket.socket(type=socket.SOCK_DGRAM)
    other.bind(("127.0.0.1", 0))
    PEER.reader, PEER.datagrams = listener.getsockname()[1], other.getsockname()
    kept.reader = kept.writer = kept.datagrams = None
    yield
    kept.reader = kept.writer = kept.datagrams = None
    listener.close()
    other.close()
    gc.collect()


async def connected() -> tuple[Any, Any]:
    return await asyncio.open_connection("127.0.0.1", PEER.reader)


async def closes_what_it_opens() -> None:
    _, writer = await connected()
    writer.write(b"ping")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def writes_through_the_first_loops() -> None:
    if kept.writer is None:
        _, kept.writer = await connected()
    try:
        kept.writer.write(b"ping")
    except Exception:  # what a dead proactor answers: 'NoneType' has no attribute 'send'
        pass


async def sends_through_the_first_loops() -> None:
    if kept.datagrams is None:
        loop = asyncio.get_running_loop()
        kept.datagrams, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=PEER.datagrams
        )
    try:
        kept.datagrams.sendto(b"ping")
    except Exception:
        pass


async def reads_from_the_first_loops() -> None:
    if kept.reader is None:
        kept.reader, kept.writer = await connected()
    try:
        await asyncio.wait_for(kept.reader.read(1), 0.01)
    except (TimeoutError, RuntimeError):
        pass


async def replaces_what_it_never_closed() -> None:
    _, kept.writer = await connected()


async def forgets_to_close() -> None:
    _, writer = await connected()
    writer.write(b"ping")


async def closes_in_another_loop() -> None:
    if kept.writer is None:
        _, kept.writer = await connected()
        return
    try:
        kept.writer.close()
    except RuntimeError:  # Event loop is closed
        pass


async def leaves_a_server() -> None:
    await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)


async def serves_and_stops() -> None:
    async def answer(reader: Any, writer: Any) -> None:
        writer.write(await reader.read(4))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(b"ping")
        assert await reader.read(4) == b"ping"
        writer.close()
        await writer.wait_closed()


async def asks_a_thread() -> None:
    assert await asyncio.to_thread(lambda: 5) == 5


CASES: dict[Callable[[], Any], str] = {
    closes_what_it_opens: "",
    serves_and_stops: "",
    asks_a_thread: "",
    writes_through_the_first_loops: "LS103 LS201",
    sends_through_the_first_loops: "LS103",
    reads_from_the_first_loops: "LS101 LS201",
    replaces_what_it_never_closed: "LS202",
    forgets_to_close: "LS303",
    closes_in_another_loop: "LS103 LS201",
    leaves_a_server: "LS303",
}


@pytest.mark.parametrize("body", CASES, ids=lambda body: body.__name__)
@pytest.mark.parametrize("factory", [ProactorEventLoop, asyncio.SelectorEventLoop])
def test_a_connection_is_seen_on_each_loop(body: Callable[[], Any], factory: Any) -> None:
    report = pytest_loopsafe.run(body, loops=3, loop_factory=factory, check=False)
    found = {finding.code for finding in report.findings}
    print(report, [p.error for p in report.passes])
    assert found == set(CASES[body].split())
    assert not [note for note in report.notes if "cannot see" in note]
