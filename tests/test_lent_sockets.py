"""Sockets that loops are given (``sock=``), and listeners that outlive their loop: LS201, LS202."""

import asyncio
import contextlib
import gc
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pytest_loopsafe

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

FACTORIES = [None] if uvloop is None else [None, uvloop.new_event_loop]
each_loop = pytest.mark.parametrize(
    "factory", FACTORIES, ids=["asyncio", "uvloop"][: len(FACTORIES)]
)


class Kept:
    """What outlives the loops."""

    sock: socket.socket
    others: list[Any]
    writer: Any


kept = Kept()


def bound(kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(type=kind)
    sock.bind(("127.0.0.1", 0))
    return sock


def listening() -> socket.socket:
    sock = bound()
    sock.listen()
    return sock


@pytest.fixture(autouse=True)
def _things() -> Iterator[None]:
    kept.sock, kept.others = bound(), []
    yield
    kept.sock.close()
    for one in kept.others:
        one.close()
    kept.others = []
    gc.collect()


def run(body: Callable[[], Any], **settings: Any) -> pytest_loopsafe.LoopReport:
    return pytest_loopsafe.run(body, check=False, **settings)


def codes(report: pytest_loopsafe.LoopReport) -> set[str]:
    return {one.code for one in report.findings}


async def closed(one: Any) -> None:
    one.close()
    kept.others = [other for other in kept.others if other is not one]
    await asyncio.sleep(0)
    await asyncio.sleep(0)


# -- a socket that went down with its loop -----------------------------------------------------


async def serve(sock: socket.socket) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), sock=sock)
    await closed(server)


async def served_again() -> None:
    await serve(kept.sock)


async def served_again_in_silence() -> None:
    with contextlib.suppress(Exception):
        await serve(kept.sock)


async def given_up_and_kept() -> None:
    """It names the error, and goes on without a server: the socket stays where it is."""
    try:
        await serve(kept.sock)
    except OSError:
        kept.others.append(socket.socket())


async def served_by_create_server() -> None:
    await closed(await asyncio.get_running_loop().create_server(asyncio.Protocol, sock=kept.sock))


async def a_transport_of_it() -> None:
    if not kept.others:
        kept.sock.close()
        kept.sock, far = socket.socketpair()
        kept.others.append(far)
    _, writer = await asyncio.open_connection(sock=kept.sock)
    await closed(writer)


async def accepted_by_hand() -> None:
    if not kept.others:
        kept.sock.close()
        kept.sock, far = socket.socketpair()
        kept.others.append(far)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, kept.sock)
    await closed(transport)


async def datagrams() -> None:
    if not kept.others:
        kept.others.append(kept.sock)
        kept.sock = bound(socket.SOCK_DGRAM)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=kept.sock)
    await closed(transport)


async def then_used_by_hand() -> None:
    if kept.sock.fileno() != -1:
        await serve(kept.sock)
    else:
        kept.sock.listen()


async def then_received_from_by_hand() -> None:
    if kept.sock.fileno() != -1:
        await datagrams()
    else:
        with contextlib.suppress(OSError):
            kept.sock.recv(1)


async def then_asked_for_its_address() -> None:
    """As aiohttp's SockSite does, before it gives the socket to the loop."""
    kept.sock.getsockname()
    await serve(kept.sock)


BROKEN = (
    served_again,
    served_again_in_silence,
    given_up_and_kept,
    served_by_create_server,
    a_transport_of_it,
    accepted_by_hand,
    datagrams,
    then_used_by_hand,
    then_received_from_by_hand,
    then_asked_for_its_address,
)


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads"])
@pytest.mark.parametrize("body", BROKEN, ids=lambda body: body.__name__)
@each_loop
def test_what_its_first_loop_has_closed(body: Any, factory: Any, schedule: str) -> None:
    report = run(body, loop_factory=factory, schedule=schedule)
    (finding,) = [one for one in report.findings if one.code == "LS201"]
    assert finding.owner == f"{__name__}.kept.sock"
    assert "given to loop 1 (closed)" in finding.message
    assert finding.home_loop is not None
    assert finding.home_loop.number == 1
    assert finding.is_error


@pytest.mark.skipif(uvloop is None, reason="needs uvloop")
def test_uvloop_closes_it_with_the_loop_whatever_became_of_its_transport() -> None:
    """The report: the socket was made outside, the writer never closed, and used afterwards."""

    async def send() -> None:
        _, writer = await asyncio.open_connection(sock=kept.sock)
        writer.write(b"first")
        await writer.drain()

    def main() -> None:
        kept.sock.close()
        kept.sock, far = socket.socketpair()
        with far:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(send())
            kept.sock.sendall(b"second")

    report = run(main, loops=1)
    assert isinstance(report.passes[0].error, OSError)
    (finding,) = [one for one in report.findings if one.code == "LS201"]
    assert "sendall() was called with it outside any loop" in finding.message


def test_a_loop_that_is_paused_has_closed_it_as_well() -> None:
    def main() -> None:
        with asyncio.Runner() as first, asyncio.Runner() as second:
            first.run(served_again())
            second.run(served_again())

    report = run(main, loops=1)
    assert [
        "given to loop 1 (open, but not running)" in one.message for one in report.findings
    ] == [True]


# -- and what looks like it --------------------------------------------------------------------


async def one_for_each_loop() -> None:
    await serve(bound())


async def a_copy_for_each_loop() -> None:
    await serve(kept.sock.dup())


async def the_same_in_another_object() -> None:
    await serve(socket.fromfd(kept.sock.fileno(), kept.sock.family, kept.sock.type))


async def made_anew_where_it_is_refused() -> None:
    try:
        await serve(kept.sock)
    except OSError:
        kept.sock = bound()
        await serve(kept.sock)


async def asked_first() -> None:
    if kept.sock.fileno() == -1:
        kept.sock = bound()
    await serve(kept.sock)


async def shut_down_to_make_sure() -> None:
    await serve(bound())
    if kept.others:
        with contextlib.suppress(OSError):
            kept.sock.shutdown(socket.SHUT_RDWR)
        kept.sock.close()
    else:
        kept.others.append(kept.sock)
        await serve(kept.sock)


async def asked_by_its_address() -> None:
    try:
        kept.sock.getsockname()
    except OSError:
        kept.others.append(kept.sock)
        kept.sock = bound()
    await serve(kept.sock)


async def asked_whatever_goes_wrong() -> None:
    def is_open() -> bool:
        try:
            kept.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except Exception:
            return False
        return True

    if not is_open():
        kept.sock = bound()
    await serve(kept.sock)


async def closed_by_hand_and_never_given() -> None:
    kept.sock.close()
    with contextlib.suppress(OSError):
        kept.sock.listen()


async def accepted_from_by_each_loop() -> None:
    kept.sock.listen()
    kept.sock.setblocking(False)
    with socket.create_connection(kept.sock.getsockname()):
        accepted, _ = await asyncio.get_running_loop().sock_accept(kept.sock)
        accepted.close()


SAFE = (
    one_for_each_loop,
    a_copy_for_each_loop,
    the_same_in_another_object,
    made_anew_where_it_is_refused,
    asked_first,
    asked_by_its_address,
    asked_whatever_goes_wrong,
    shut_down_to_make_sure,
    closed_by_hand_and_never_given,
    accepted_from_by_each_loop,
)


@pytest.mark.parametrize("schedule", ["consecutive", "recycled"])
@pytest.mark.parametrize("body", SAFE, ids=lambda body: body.__name__)
@each_loop
def test_what_is_in_order(body: Any, factory: Any, schedule: str) -> None:
    report = run(body, loop_factory=factory, schedule=schedule, loops=4)
    assert not report.findings, str(report)
    assert not [one.error for one in report.passes if one.error is not None]


def test_a_listening_socket_that_is_handed_from_loop_to_loop() -> None:
    """Nobody closes the server: the socket is the code's, is kept open, and goes to the next."""
    answered: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async def main() -> None:
        await asyncio.start_server(answer, sock=kept.sock)
        reader, writer = await asyncio.open_connection(*kept.sock.getsockname())
        writer.write(b"hello\n")
        answered.append(await reader.readline())
        await closed(writer)

    report = run(main)
    assert not report.findings, str(report)
    assert answered == [b"hello\n"] * 3


def test_a_server_that_is_dropped_with_its_socket_was_left_open() -> None:
    async def main() -> None:
        await asyncio.start_server(lambda reader, writer: writer.close(), sock=bound())

    assert codes(run(main)) == {"LS303"}


# -- listeners ---------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def listen(port: int) -> asyncio.Server:
    server = await asyncio.start_server(
        lambda reader, writer: writer.close(), "127.0.0.1", port, reuse_port=True
    )
    kept.others.append(server)
    return server


def by_asyncio_run(port: int) -> None:
    asyncio.run(listen(port))


def closed_by_hand(port: int) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(listen(port))
    loop.close()


def before_the_other_is_closed(port: int) -> None:
    """The next one listens already when its predecessor's loop is closed without it."""
    with asyncio.Runner() as later:
        with asyncio.Runner() as earlier:
            earlier.run(listen(port))
            later.run(listen(port))
        later.run(closed(kept.others[1]))


@pytest.mark.parametrize("make", [by_asyncio_run, closed_by_hand, before_the_other_is_closed])
def test_a_listener_of_a_dead_loop_takes_a_share(make: Callable[[int], None]) -> None:
    port = free_port()
    report = run(lambda: make(port), loops=2)
    findings = [one for one in report.findings if one.code == "LS202"]
    assert findings, str(report)
    assert all("nobody accepts" in one.message for one in findings)
    assert findings[0].owner == f"{__name__}.kept.others[0]"


def closed_in_time(port: int) -> None:
    async def main() -> None:
        await closed(await listen(port))

    asyncio.run(main())


def overlapping_for_a_moment(port: int) -> None:
    """As a restart does it: the next one listens before the other is closed in order."""
    with asyncio.Runner() as later, asyncio.Runner() as earlier:
        old = earlier.run(listen(port))
        new = later.run(listen(port))
        earlier.run(closed(old))
        later.run(closed(new))


def in_two_loops_that_both_run(port: int) -> None:
    async def main() -> None:
        one, other = await listen(port), await listen(port)
        await closed(one)
        await closed(other)

    asyncio.run(main())


def on_another_port(port: int) -> None:
    closed_in_time(port)
    closed_in_time(free_port())


@pytest.mark.parametrize(
    "make", [closed_in_time, overlapping_for_a_moment, in_two_loops_that_both_run, on_another_port]
)
def test_listeners_that_are_closed_in_order(make: Callable[[int], None]) -> None:
    port = free_port()
    report = run(lambda: make(port), loops=3)
    assert not report.findings, str(report)


def test_a_path_has_one_listener_whatever_became_of_the_other() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "socket")

        async def main() -> None:
            path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(lambda reader, writer: None, path)
            kept.others.append(server)

        assert "LS202" not in codes(run(main, loops=2))


# -- what is compiled --------------------------------------------------------------------------


@pytest.mark.skipif(uvloop is None, reason="needs uvloop")
def test_connections_of_uvloop_are_seen_where_they_are_given_back() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        await asyncio.open_connection(*server.sockets[0].getsockname())

    report = run(main, loop_factory=uvloop.new_event_loop)
    assert codes(report) == {"LS303"}
    assert {one.message.partition(" was ")[0] for one in report.findings} >= {
        "an uvloop.loop.Server"
    }
    assert any("connections of uvloop.Loop" in note for note in report.notes)


@pytest.mark.skipif(uvloop is None, reason="needs uvloop")
def test_what_uvloop_has_closed_with_its_loop_is_no_leak() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        kept.others.append(far)
        _, kept.writer = await asyncio.open_connection(sock=near)

    assert "LS202" not in codes(run(main, loop_factory=uvloop.new_event_loop))
    del kept.writer


@pytest.mark.skipif(uvloop is None, reason="needs uvloop")
def test_a_loop_of_uvloop_without_connections_needs_no_note() -> None:
    async def main() -> None:
        await asyncio.sleep(0)

    assert not run(main, loop_factory=uvloop.new_event_loop).notes


def test_nothing_of_it_is_left_in_sockets() -> None:
    before = dict(vars(socket.socket))
    run(then_used_by_hand)
    assert dict(vars(socket.socket)) == before


class Strange(socket.socket):
    """A socket that we may not ask for these; asyncio itself does, as production does."""

    def asked(self) -> None:
        """Fail where it is us."""
        caller = sys._getframe(2).f_code.co_filename
        assert f"{os.sep}pytest_loopsafe{os.sep}" not in caller, caller

    def __eq__(self, other: object) -> bool:
        self.asked()
        return self is other

    def __hash__(self) -> int:
        self.asked()
        return id(self)

    def __bool__(self) -> bool:
        self.asked()
        return True

    def fileno(self) -> int:
        """Its number."""
        self.asked()
        return super().fileno()


def test_no_method_of_a_sockets_own_class_is_called() -> None:
    strange = Strange()
    strange.bind(("127.0.0.1", 0))
    kept.others.append(strange)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            await closed(await loop.create_server(asyncio.Protocol, sock=strange))

    assert codes(run(main, loops=2)) == {"LS201"}


def test_a_forked_child_may_do_with_its_copy_what_it_wants() -> None:
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    report = run(served_again, schedule="fork")
    assert not report.findings, str(report)
