"""LS106 names a server to which a pass that hangs is connected, and whose loop stands still."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._words import descriptors

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

FACTORIES = [None] if uvloop is None else [None, uvloop.new_event_loop]
each_loop = pytest.mark.parametrize(
    "factory", FACTORIES, ids=["asyncio", "uvloop"][: len(FACTORIES)]
)

BRIEF = 0.3


class App:
    """What has a server."""

    server: Any = None


app = App()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(await reader.readline())
    writer.close()


async def start(host: str = "127.0.0.1") -> int:
    app.server = await asyncio.start_server(answer, host, 0)
    return int(app.server.sockets[0].getsockname()[1])


async def stop() -> None:
    app.server.close()
    await asyncio.sleep(0)


async def ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"hello\n")
        return await reader.readline()
    finally:
        writer.close()


async def ask_by_protocol(port: int) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
    try:
        await loop.create_future()
    finally:
        transport.close()


async def ask_by_socket(port: int) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_recv(sock, 1)


def hang(body: Callable[[], Any]) -> pytest_loopsafe.Finding:
    report = pytest_loopsafe.run(body, loops=1, timeout=BRIEF, check=False)
    (finding,) = [one for one in report.findings if one.code == "LS106"]
    return finding


@pytest.mark.parametrize("client", [ask, ask_by_protocol, ask_by_socket])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@each_loop
def test_a_server_whose_loop_stands_still(
    client: Callable[[int], Awaitable[Any]], host: str, factory: Any
) -> None:
    async def main(port: int) -> None:
        await client(port)

    def body() -> None:
        with asyncio.Runner(loop_factory=factory) as setup, asyncio.Runner() as work:
            port = setup.run(start(host))
            try:
                work.run(main(port))
            finally:
                setup.run(stop())

    finding = hang(body)
    assert (
        "where a server of loop 1 (open, but not running) listens, and nobody runs that loop"
        in finding.message
    )
    assert finding.home_loop is not None
    assert (finding.home_loop.number, finding.home_state) == (1, "paused")
    assert finding.owner == f"{__name__}.app.server"


def test_one_that_is_waited_for_in_sync_code() -> None:
    def body() -> None:
        with asyncio.Runner() as setup:
            port = setup.run(start())
            try:
                with socket.create_connection(("127.0.0.1", port)) as sock:
                    sock.recv(1)
            finally:
                setup.run(stop())

    finding = hang(body)
    assert "outside any loop; there is a connection to 127.0.0.1:" in finding.message
    assert finding.home_loop is not None


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs unix sockets")
def test_one_at_a_path(tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    async def begin() -> None:
        app.server = await asyncio.start_unix_server(answer, path)

    async def main() -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            await reader.readline()
        finally:
            writer.close()

    def body() -> None:
        with asyncio.Runner() as setup, asyncio.Runner() as work:
            setup.run(begin())
            try:
                work.run(main())
            finally:
                setup.run(stop())

    assert f"a connection to {path}, where a server of loop 1" in hang(body).message


def test_a_listening_socket_of_ones_own() -> None:
    """The loop was about to accept, and was left there."""

    def body() -> None:
        with asyncio.Runner() as setup, asyncio.Runner() as work:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                listener.setblocking(False)
                loop = setup.get_loop()
                waiting = loop.create_task(loop.sock_accept(listener))
                setup.run(asyncio.sleep(0))
                try:
                    work.run(ask(listener.getsockname()[1]))
                finally:
                    waiting.cancel()
                    setup.run(asyncio.sleep(0))

    assert "where a socket of loop 1 (open, but not running) listens" in hang(body).message


def test_a_server_whose_loop_runs_is_not_named() -> None:
    """It has the connection, and does not answer: what else there is, is no cause."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def serve(ready: threading.Event, port: list[int], end: asyncio.Event) -> None:
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port.append(server.sockets[0].getsockname()[1])
            ready.set()
            await end.wait()

    def body() -> None:
        ready, port = threading.Event(), list[int]()
        loop, end = asyncio.new_event_loop(), asyncio.Event()
        thread = threading.Thread(target=loop.run_until_complete, args=(serve(ready, port, end),))
        thread.start()
        ready.wait()
        try:
            asyncio.run(ask(port[0]))
        finally:
            loop.call_soon_threadsafe(end.set)
            thread.join()
            loop.close()

    assert "there is a connection" not in hang(body).message


def test_a_pass_that_waits_for_something_else() -> None:
    def body() -> None:
        async def main(port: int) -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.Event().wait()
            finally:
                writer.close()

        with asyncio.Runner() as setup, asyncio.Runner() as work:
            port = setup.run(start())
            try:
                work.run(main(port))
            finally:
                setup.run(stop())

    assert "waits for an Event" in (message := hang(body).message)
    assert "there is a connection" not in message


def test_who_runs_the_servers_loop_meanwhile_is_answered() -> None:
    def body() -> None:
        loop = asyncio.new_event_loop()
        port = loop.run_until_complete(start())
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            assert asyncio.run(ask(port)) == b"hello\n"
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.run_until_complete(stop())
            loop.close()

    report = pytest_loopsafe.run(body, loops=2, check=False)
    assert not report.findings, str(report)


def test_a_look_at_what_is_no_socket_leaves_nothing_open() -> None:
    ends = os.pipe()
    try:
        before = descriptors.numbers()
        assert [descriptors.peer_of(one) for one in ends] == [None, None]
        assert [descriptors.listens_at(one) for one in ends] == [None, None]
        assert descriptors.numbers() == before
    finally:
        for one in ends:
            os.close(one)
