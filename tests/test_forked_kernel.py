"""What the kernel shares between a forked child and its parent: LS401, LS402."""

import asyncio
import contextlib
import functools
import gc
import logging.handlers
import multiprocessing
import os
import selectors
import signal
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import pytest_loopsafe

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

pytestmark = [
    pytest.mark.skipif(not hasattr(selectors, "EpollSelector"), reason="needs fork and epoll"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def by_os_fork(work: Callable[[], Any]) -> None:
    pid = os.fork()
    if not pid:
        try:
            with suppress(Exception, asyncio.CancelledError):
                work()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def by_multiprocessing(work: Callable[[], Any]) -> None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    process.close()


FORKS = {"os.fork": by_os_fork, "multiprocessing": by_multiprocessing}
each_way = pytest.mark.parametrize("way", [*FORKS, "schedule"])


def report_of(way: str, work: Callable[[], Any]) -> pytest_loopsafe.LoopReport:
    settings: dict[str, Any] = {"loops": 1, "check": False}
    if way == "schedule":
        return pytest_loopsafe.run(work, schedule="fork", **settings)
    return pytest_loopsafe.run(functools.partial(FORKS[way], work), **settings)


def codes(report: pytest_loopsafe.LoopReport) -> set[str]:
    return {one.code for one in report.findings}


# -- a parent's things -------------------------------------------------------------------------


class Echo(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True


class Echoing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with suppress(OSError):
            while data := self.request.recv(100):
                self.request.sendall(data)


@pytest.fixture(scope="module")
def echo() -> Iterator[Any]:
    """The address of a server that answers in threads."""
    with Echo(("127.0.0.1", 0), Echoing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address
        server.shutdown()
        thread.join()


@pytest.fixture
def talked(echo: Any) -> Iterator[socket.socket]:
    """A connection as a driver has it: it has asked, and was answered."""
    with socket.create_connection(echo) as sock:
        sock.sendall(b"hello")
        while len(sock.recv(5, socket.MSG_PEEK)) < 5:
            pass
        sock.recv(5)
        yield sock


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    one = asyncio.new_event_loop()
    yield one
    one.close()


@contextmanager
def open_streams(loop: asyncio.AbstractEventLoop, echo: Any) -> Iterator[asyncio.StreamWriter]:
    _, writer = loop.run_until_complete(asyncio.open_connection(*echo))
    yield writer
    writer.close()
    loop.run_until_complete(asyncio.sleep(0))


# -- the selector ------------------------------------------------------------------------------


@each_way
def test_a_reader_that_the_child_removes_is_gone_for_the_parent(way: str, loop: Any) -> None:
    near, far = socket.socketpair()
    heard: list[bytes] = []
    with near, far:
        loop.add_reader(near, lambda: heard.append(near.recv(1)))
        report = report_of(way, lambda: loop.remove_reader(near))
        far.send(b"x")
        for _ in range(3):
            loop.run_until_complete(asyncio.sleep(0))
        assert heard == []  # what this is about
        with suppress(OSError):
            loop.remove_reader(near)
    (finding,) = report.findings
    assert finding.code == "LS401"
    assert "its parent no longer hears of that" in finding.message
    assert finding.home_loop is not None
    assert finding.home_state in ("running", "paused")
    assert finding.home_loop.pid == os.getpid()


def test_a_loop_that_the_child_closes_no_longer_wakes_its_parent(loop: Any) -> None:
    """The pair of sockets through which threads and signals wake it is out of the selector."""

    def watched() -> int:
        info = Path(f"/proc/self/fdinfo/{loop._selector.fileno()}")
        return info.read_text().count("tfd:")

    if not os.path.isdir("/proc/self/fdinfo"):
        pytest.skip("needs Linux's /proc")
    assert watched() == 1
    report = report_of("os.fork", loop.close)
    assert watched() == 0
    assert codes(report) == {"LS401"}


def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()


def aborted(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def closed_in_a_loop_of_its_own(writer: asyncio.StreamWriter) -> None:
    async def main() -> None:
        writer.close()

    with suppress(RuntimeError):
        asyncio.run(main())


def its_loop_is_closed(writer: asyncio.StreamWriter) -> None:
    writer.transport._loop.close()  # type: ignore[attr-defined]


def one_more_reader(writer: asyncio.StreamWriter) -> None:
    near, _ = socket.socketpair()
    writer.transport._loop.add_reader(near, int)  # type: ignore[attr-defined]


TOUCHES = (closed, aborted, closed_in_a_loop_of_its_own, its_loop_is_closed, one_more_reader)


@pytest.mark.parametrize("touch", TOUCHES, ids=lambda one: one.__name__)
@each_way
def test_a_parents_selector_that_is_touched(way: str, touch: Any, loop: Any, echo: Any) -> None:
    with open_streams(loop, echo) as writer:
        report = report_of(way, lambda: touch(writer))
    assert "LS401" in codes(report)
    assert codes(report) <= {"LS401", "LS402"}


def test_a_child_that_goes_on_in_the_loop_that_was_running() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        child = os.fork()
        if not child:
            # From CPython 3.14 on the loop refuses to go on with a task in the child, for ever.
            loop.call_soon(os._exit, 0)
            await asyncio.sleep(0)
        os.waitpid(child, 0)

    report = pytest_loopsafe.run(main, loops=1, check=False)
    given, run = report.findings
    assert "was given work (call_soon()) by a forked child" in given.message
    assert "the loop was run in both" in run.message


def test_what_a_loop_does_that_is_run_is_one_finding(loop: Any) -> None:
    def work() -> None:
        async def main() -> None:
            near, far = socket.socketpair()
            near.setblocking(False)
            far.send(b"x")
            await loop.sock_recv(near, 1)

        loop.run_until_complete(main())

    report = report_of("os.fork", work)
    assert [(one.code, "was run in a forked child" in one.message) for one in report.findings] == [
        ("LS401", True)
    ]


@pytest.mark.skipif(uvloop is None, reason="needs uvloop")
@each_way
def test_a_reader_of_uvloops(way: str) -> None:
    near, far = socket.socketpair()
    loop = uvloop.new_event_loop()
    with near, far:
        loop.add_reader(near, int)
        report = report_of(way, lambda: loop.remove_reader(near))
        loop.remove_reader(near)
        loop.close()
    assert codes(report) == {"LS401"}


def nothing(writer: asyncio.StreamWriter) -> None:
    """The child ends, and its copies are closed by the system."""


def its_socket_alone_is_closed(writer: asyncio.StreamWriter) -> None:
    writer.transport._sock.close()  # type: ignore[attr-defined]


def all_descriptors_are_closed(writer: asyncio.StreamWriter) -> None:
    os.closerange(3, 200)


def its_selectors_own_descriptor_is_closed(writer: asyncio.StreamWriter) -> None:
    os.close(writer.transport._loop._selector.fileno())  # type: ignore[attr-defined]


def asked_only(writer: asyncio.StreamWriter) -> None:
    writer.is_closing()
    writer.get_extra_info("peername")
    writer.transport._loop.is_running()  # type: ignore[attr-defined]


def a_loop_of_its_own(writer: asyncio.StreamWriter) -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        reader, own = await asyncio.open_connection(sock=near)
        far.send(b"x\n")
        await reader.readline()
        own.close()
        far.close()

    asyncio.run(main())


def collected(writer: asyncio.StreamWriter) -> None:
    gc.collect()


LEFT_ALONE = (
    nothing,
    its_socket_alone_is_closed,
    all_descriptors_are_closed,
    its_selectors_own_descriptor_is_closed,
    asked_only,
    a_loop_of_its_own,
    collected,
)


@pytest.mark.parametrize("work", LEFT_ALONE, ids=lambda one: one.__name__)
@each_way
def test_what_does_the_parent_no_harm(way: str, work: Any, loop: Any, echo: Any) -> None:
    with open_streams(loop, echo) as writer:
        report = report_of(way, lambda: work(writer))
        writer.write(b"hello\n")
        heard = asyncio.wait_for(writer._protocol._stream_reader.readline(), 10)  # type: ignore[attr-defined]
        assert loop.run_until_complete(heard) == b"hello\n"
    assert not report.findings, str(report)


@pytest.mark.parametrize("kind", [selectors.SelectSelector, selectors.PollSelector])
def test_a_selector_that_the_kernel_does_not_keep_is_the_childs_own(kind: Any, echo: Any) -> None:
    loop = asyncio.SelectorEventLoop(kind())
    with open_streams(loop, echo) as writer:
        report = report_of("os.fork", writer.close)
    loop.close()
    assert not report.findings, str(report)


# -- signals -----------------------------------------------------------------------------------


def a_child_that_is_told_to_end(prepare: Callable[[], Any] = int) -> None:
    child = os.fork()
    if not child:
        try:
            prepare()
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass
        finally:
            os._exit(0)
    os.waitpid(child, 0)


FACTORIES = [None] if uvloop is None else [None, uvloop.new_event_loop]
each_loop = pytest.mark.parametrize(
    "factory", FACTORIES, ids=["asyncio", "uvloop"][: len(FACTORIES)]
)


def told_within(factory: Any, prepare: Callable[[], Any] = int) -> tuple[Any, list[str]]:
    """Fork a child in a loop that handles SIGTERM, and what the parent has heard of it."""
    heard: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, heard.append, "SIGTERM")
        a_child_that_is_told_to_end(prepare)
        await asyncio.sleep(0.01)
        loop.remove_signal_handler(signal.SIGTERM)

    report = pytest_loopsafe.run(main, loops=1, check=False, loop_factory=factory)
    return report, heard


@each_loop
def test_a_signal_that_the_handler_of_the_parents_loop_takes(factory: Any) -> None:
    report, heard = told_within(factory)
    (finding,) = report.findings
    assert finding.code == "LS401"
    assert "got SIGTERM" in finding.message
    assert ("it went to the parent" in finding.message) is bool(heard)
    assert finding.home_loop is not None
    assert finding.home_state in ("running", "paused")


def all_reset() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def a_handler_of_its_own() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, lambda *_: None)


def ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@pytest.mark.parametrize("prepare", [all_reset, a_handler_of_its_own, ignored])
@each_loop
def test_a_child_that_sees_to_its_signals_itself(factory: Any, prepare: Any) -> None:
    report, heard = told_within(factory, prepare)
    assert not report.findings, str(report)
    assert heard == []


def test_a_signal_that_a_loop_of_the_childs_handles() -> None:
    async def own() -> None:
        got = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, got.set)
        os.kill(os.getpid(), signal.SIGTERM)
        await got.wait()

    report, heard = told_within(None, lambda: asyncio.run(own()))
    assert "LS401" not in {one.code for one in report.findings if "SIGTERM" in one.message} or heard
    # after asyncio.run() its handler is gone, and the signal is deadly again
    assert not report.findings, str(report)


def test_a_childs_own_children_are_no_signal_of_the_parents() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, int)
        by_os_fork(lambda: by_os_fork(int))
        loop.remove_signal_handler(signal.SIGCHLD)

    report = pytest_loopsafe.run(main, loops=1)
    assert not report.findings


# -- connections that a driver has itself ------------------------------------------------------


def asks(sock: socket.socket) -> None:
    sock.sendall(b"x")
    sock.recv(1)


def sends_only(sock: socket.socket) -> None:
    sock.sendall(b"x")


def shuts_down(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_RDWR)


def reads_a_file(sock: socket.socket) -> None:
    sock.sendall(b"line\n")
    with sock.makefile("rb") as file:
        file.readline()


def in_a_loop(sock: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"x")
        await loop.sock_recv(sock, 1)

    sock.setblocking(False)
    asyncio.run(main())


async def by_number(number: int) -> None:
    """As libpq's users do: the library writes, and the loop is given the number."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(number, lambda: ready.done() or ready.set_result(None))
    os.write(number, b"x")
    try:
        await ready
        os.read(number, 1)
    finally:
        loop.remove_reader(number)


def waits_by_number(sock: socket.socket) -> None:
    asyncio.run(by_number(sock.fileno()))


def waits_by_number_in_uvloop(sock: socket.socket) -> None:
    if uvloop is None:
        pytest.skip("needs uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(by_number(sock.fileno()))


def waits_in_sync_code(sock: socket.socket) -> None:
    os.write(sock.fileno(), b"x")
    with selectors.DefaultSelector() as selector:
        selector.register(sock.fileno(), selectors.EVENT_READ)
        selector.select()


def in_a_thread(sock: socket.socket) -> None:
    thread = threading.Thread(target=asks, args=(sock,))
    thread.start()
    thread.join()


def and_dies_of_it(sock: socket.socket) -> None:
    sock.sendall(b"x")
    os.kill(os.getpid(), signal.SIGKILL)


def and_crashes(sock: socket.socket) -> None:
    sock.sendall(b"x")
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


USES = (
    asks,
    sends_only,
    shuts_down,
    reads_a_file,
    in_a_loop,
    waits_by_number,
    waits_by_number_in_uvloop,
    waits_in_sync_code,
    in_a_thread,
    and_dies_of_it,
    and_crashes,
)


@pytest.mark.parametrize("use", USES, ids=lambda one: one.__name__)
@each_way
def test_a_connection_that_the_parent_talked_over(way: str, use: Any, talked: Any) -> None:
    report = report_of(way, lambda: use(talked))
    assert codes(report) == {"LS402"}
    assert "its parent had opened, and had talked over" in report.findings[0].message


def test_two_children_of_one_worker(talked: Any) -> None:
    """The report: a pool that the parent's start has filled, and each child takes from."""
    report = pytest_loopsafe.run(lambda: asks(talked), schedule="fork", loops=2, check=False)
    assert {(one.code, one.count, one.passes) for one in report.findings} == {("LS402", 2, (1, 2))}


def test_a_socket_at_a_path_that_the_child_reads_from(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as sock:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        sock.connect(str(tmp_path / "s"))
        accepted, _ = listener.accept()
        with accepted:
            accepted.send(b"answer")
            report = report_of("os.fork", lambda: sock.recv(1))
            assert codes(report) == {"LS402"}
            report = report_of("os.fork", lambda: accepted.send(b"more"))
            assert not report.findings, str(report)


def test_a_connection_that_the_parents_loop_waits_for(loop: Any, echo: Any) -> None:
    with socket.create_connection(echo) as sock:
        loop.add_reader(sock, int)
        report = report_of("os.fork", lambda: sock.send(b"x"))
        loop.remove_reader(sock)
    (finding,) = report.findings
    assert finding.code == "LS402"
    assert "waits for it" in finding.message


def test_the_end_that_is_sent(loop: Any, echo: Any) -> None:
    with open_streams(loop, echo) as writer:
        report = report_of("os.fork", writer.write_eof)
    assert codes(report) == {"LS402"}


def is_closed(sock: socket.socket) -> None:
    sock.close()


def is_detached(sock: socket.socket) -> None:
    os.close(sock.detach())


def is_asked(sock: socket.socket) -> None:
    sock.getpeername()
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def is_replaced(sock: socket.socket) -> None:
    peer = sock.getpeername()
    sock.close()
    with socket.create_connection(peer) as own:
        asks(own)


def is_left(sock: socket.socket) -> None:
    asyncio.run(asyncio.sleep(0))


@pytest.mark.parametrize("end", [is_closed, is_detached, is_asked, is_replaced, is_left])
@each_way
def test_a_child_that_lets_go_of_it(way: str, end: Any, talked: Any) -> None:
    report = report_of(way, lambda: end(talked))
    assert not report.findings, str(report)
    talked.sendall(b"x")
    assert talked.recv(1) == b"x"


# -- and what is shared on purpose -------------------------------------------------------------


def test_a_server_that_forks_for_each_request() -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline())

    class Forking(socketserver.ForkingMixIn, socketserver.TCPServer):
        block_on_close = True

        def get_request(self) -> Any:
            sock, address = super().get_request()
            assert sock.recv(1) == b"?"
            sock.sendall(b"ready\n")  # the parent has talked over it, too, and closes its copy
            return sock, address

    def body() -> None:
        with Forking(("127.0.0.1", 0), Handler) as server:
            with socket.create_connection(server.server_address) as sock, sock.makefile() as file:
                sock.sendall(b"?hello\n")
                server.handle_request()
                assert [file.readline(), file.readline()] == ["ready\n", "hello\n"]

    report = pytest_loopsafe.run(body, loops=1)
    assert not report.findings


def test_servers_that_accept_from_one_listening_socket() -> None:
    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            async def serve() -> None:
                listener.setblocking(False)
                accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
                accepted.send(b"hello\n")
                accepted.close()

            for fork in FORKS.values():
                with socket.create_connection(listener.getsockname()) as sock:
                    fork(lambda: asyncio.run(serve()))
                    assert sock.recv(6) == b"hello\n"

    report = pytest_loopsafe.run(body, loops=1)
    assert not report.findings


def test_both_ends_of_a_pair() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        near.setblocking(False)
        reading = asyncio.ensure_future(loop.sock_recv(near, 5))
        await asyncio.sleep(0)
        by_os_fork(lambda: far.sendall(b"hello"))
        assert await reading == b"hello"
        near.close()
        far.close()

    report = pytest_loopsafe.run(main, loops=1)
    assert not report.findings


def test_datagrams_and_what_is_only_ever_sent(echo: Any) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        syslog = logging.handlers.SysLogHandler(listener.getsockname())
        record = logging.makeLogRecord({"msg": "hello"})
        with socket.create_server(("127.0.0.1", 0)) as collector:
            stream = logging.handlers.SocketHandler(*collector.getsockname())
            for handler in (syslog, stream):
                handler.emit(record)

            def work() -> None:
                for handler in (syslog, stream):
                    handler.emit(record)

            report = report_of("os.fork", work)
        syslog.close()
        stream.close()
    assert not report.findings, str(report)


def test_a_manager_of_multiprocessing() -> None:
    def body() -> None:
        with multiprocessing.get_context("fork").Manager() as manager:
            shared = manager.dict()
            shared["parent"] = 1
            by_multiprocessing(lambda: shared.update(child=2))
            assert dict(shared) == {"parent": 1, "child": 2}

    report = pytest_loopsafe.run(body, loops=1)
    assert not report.findings, str(report)


def test_a_number_that_stands_for_something_else_by_now(talked: Any) -> None:
    number = talked.fileno()

    def work() -> None:
        near, far = socket.socketpair()
        os.dup2(near.fileno(), number)
        far.send(b"x")
        talked.recv(1)

    report = report_of("os.fork", work)
    assert not report.findings, str(report)


def test_tls_that_is_closed_in_the_child(loop: Any) -> None:
    """What says that a connection is over goes to the other side, for both processes."""
    served, client = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for context in (served, client):  # without certificates
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AECDH-AES256-SHA:@SECLEVEL=0")

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def connect() -> tuple[Any, asyncio.StreamWriter]:
        server = await asyncio.start_server(hold, "127.0.0.1", 0, ssl=served)
        address = server.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(*address, ssl=client)
        return server, writer

    server, writer = loop.run_until_complete(connect())
    report = report_of("os.fork", writer.close)
    writer.close()
    server.close()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    with contextlib.suppress(Exception):
        loop.run_until_complete(asyncio.wait_for(writer.wait_closed(), 1))
    assert "LS402" in codes(report)


def test_a_loop_that_a_child_forgets_is_not_taken_from_its_parent() -> None:
    """Before 3.12 the schedule makes a child forget it, as Python itself does since."""
    loop = asyncio.new_event_loop()
    heard: list[int] = []

    def work() -> None:
        asyncio.run(asyncio.sleep(0))

    report = pytest_loopsafe.run(work, schedule="fork", loops=2, check=False)
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(heard.append, 1))
    loop.call_soon(thread.start)
    while not heard:
        loop.run_until_complete(asyncio.sleep(0))
    thread.join()
    loop.close()
    assert not report.findings
