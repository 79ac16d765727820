"""What a forked child inherits: LS401, LS402, and what has to stay silent."""

import asyncio
import concurrent.futures
import functools
import gc
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import pytest_loopsafe

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


# -- the four ways into a child ----------------------------------------------------------------


def by_os_fork(work: Callable[[], Any]) -> None:
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def by_multiprocessing(work: Callable[[], Any]) -> None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    process.close()


def by_billiard(work: Callable[[], Any]) -> None:
    billiard = pytest.importorskip("billiard")
    process = billiard.get_context("fork").Process(target=work)
    process.start()
    process.join()


FORKS = {"os.fork": by_os_fork, "multiprocessing": by_multiprocessing, "billiard": by_billiard}
WAYS = (*FORKS, "schedule")


def report_of(way: str, work: Callable[[], Any], **settings: Any) -> pytest_loopsafe.LoopReport:
    """Run `work` in a child, in one of the four ways."""
    if way == "schedule":
        return pytest_loopsafe.run(work, loops=1, schedule="fork", check=False, **settings)
    return pytest_loopsafe.run(
        functools.partial(FORKS[way], work), loops=1, check=False, **settings
    )


def codes(report: pytest_loopsafe.LoopReport) -> set[str]:
    return {finding.code for finding in report.findings}


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    def children() -> set[int]:
        return {one.pid for one in psutil.Process().children(recursive=True)}

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gc.collect()
    before, there = descriptors(), children()
    yield
    gc.collect()
    assert descriptors() <= before
    assert list(tmp_path.glob("loopsafe-*")) == []
    assert children() <= there


# -- a parent's things -------------------------------------------------------------------------


@contextmanager
def server() -> Iterator[int]:
    """A server in a thread that answers each line with the same line."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    port: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            while line := await reader.readline():
                writer.write(line)
        writer.transport.abort()

    async def serve() -> None:
        one = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.append(one.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()
        one.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield port[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@contextmanager
def parents_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()


@contextmanager
def connected(*, closed: bool = False) -> Iterator[Any]:
    """A connection that the parent has opened: its loop, reader and writer."""
    with server() as port, parents_loop() as loop:
        reader, writer = loop.run_until_complete(asyncio.open_connection("127.0.0.1", port))
        if closed:
            loop.close()
        try:
            yield loop, reader, writer
        finally:
            discard(writer, loop)


def discard(writer: asyncio.StreamWriter, loop: asyncio.AbstractEventLoop) -> None:
    """Close a connection whose loop may be closed."""
    if not loop.is_closed():
        writer.close()
        loop.run_until_complete(asyncio.sleep(0.01))
        return
    transport: Any = writer.transport
    transport._sock.close()
    transport._sock, transport._closing = None, True


def swallowing(work: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        try:
            work()
        except (Exception, asyncio.CancelledError):
            pass

    return run


# -- LS401 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_parents_loop_that_is_run(way: str) -> None:
    with parents_loop() as loop:
        report = report_of(way, lambda: loop.run_until_complete(asyncio.sleep(0)))
    (finding,) = report.findings
    assert finding.code == "LS401"
    assert finding.origin is not None
    assert finding.origin.process == "forked child"
    assert finding.origin.pid != os.getpid()
    assert finding.passes == (1,)
    assert finding.home_loop is not None
    assert finding.home_loop.pid == os.getpid()


frozen: asyncio.AbstractEventLoop | None = None


@pytest.mark.parametrize("way", WAYS)
def test_a_parents_loop_that_was_frozen_before_the_fork(way: str) -> None:
    global frozen
    with parents_loop() as frozen:
        gc.freeze()
        report = report_of(way, lambda: frozen.run_until_complete(asyncio.sleep(0)))
    frozen = None
    assert codes(report) == {"LS401"}


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_future_of_a_parents_loop_that_is_awaited(way: str, hidden: bool) -> None:
    with parents_loop() as loop:
        future = loop.create_future()

        async def wait() -> None:
            if not hidden:
                await future
            try:
                await future
            except RuntimeError:
                pass

        work = swallowing(lambda: asyncio.run(wait()))
        report = report_of(way, wait if way == "schedule" else work)
        assert not future.done()
    assert codes(report) == {"LS401"}
    if way == "schedule":
        assert report.findings[0].swallowed is hidden
        assert isinstance(report.passes[0].error, RuntimeError) is not hidden


@contextmanager
def running_elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    with parents_loop() as loop:
        loop.set_debug(False)  # in debug mode asyncio refuses what is tried here
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        while not loop.is_running():
            time.sleep(0.001)
        try:
            yield loop
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


@pytest.mark.parametrize("how", ["call_soon", "create_task", "future", "event"])
@pytest.mark.parametrize("way", WAYS)
def test_a_call_on_a_loop_that_runs_in_a_thread_of_the_parent(way: str, how: str) -> None:
    with running_elsewhere() as loop:
        future, event = loop.create_future(), asyncio.Event()
        future.add_done_callback(print)
        waiting = asyncio.run_coroutine_threadsafe(event.wait(), loop)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.001), loop).result()

        def work() -> None:
            if how == "call_soon":
                loop.call_soon(print)
            elif how == "event":
                event.set()
            elif how == "future":
                future.set_result(None)
            else:
                task = loop.create_task(asyncio.sleep(0))
                task._log_destroy_pending = False

        report = report_of(way, work)
        future.cancel()
        loop.call_soon_threadsafe(event.set)
        waiting.result()
    assert codes(report) == {"LS401"}
    for finding in report.findings:
        assert "thread" not in f"{finding.message} {finding.stacks[0].title}"
        assert "by a forked child" in finding.message or "in a forked child" in finding.message


def keep(task: "asyncio.Task[None]") -> None:
    task._log_destroy_pending = False


GIVEN: dict[str, Callable[[asyncio.AbstractEventLoop], Any]] = {
    "call_soon": lambda loop: loop.call_soon(print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(print),
    "call_later": lambda loop: loop.call_later(0.01, print),
    "call_at": lambda loop: loop.call_at(loop.time(), print),
    "create_task": lambda loop: keep(loop.create_task(asyncio.sleep(0))),
    "ensure_future": lambda loop: keep(asyncio.ensure_future(asyncio.sleep(0), loop=loop)),
}
LETS_GO: dict[str, Callable[[asyncio.AbstractEventLoop, Any], Any]] = {
    "stop at once": lambda loop, task: loop.stop(),
    "stop": lambda loop, task: loop.call_soon_threadsafe(loop.stop),
    "stop once, later": lambda loop, task: loop.call_later(1, loop.stop),
    "cancel": lambda loop, task: loop.call_soon_threadsafe(task.cancel),
    "cancel at once": lambda loop, task: task.cancel(),
    "a finalizer": lambda loop, task: Flushed(loop),
}


class Flushed:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def __del__(self) -> None:
        self.loop.call_soon_threadsafe(print)


@contextmanager
def with_a_task() -> Iterator[tuple[asyncio.AbstractEventLoop, Any]]:
    """A loop of the parent's that rests, and a task of it that waits."""
    with parents_loop() as loop:
        loop.set_debug(False)
        task = loop.create_task(asyncio.Event().wait())
        loop.run_until_complete(asyncio.sleep(0))
        try:
            yield loop, task
        finally:
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))


@pytest.mark.parametrize("method", GIVEN)
@pytest.mark.parametrize("way", WAYS)
def test_what_a_child_schedules_on_a_parents_loop_is_never_done(way: str, method: str) -> None:
    with with_a_task() as (loop, _):
        report = report_of(way, lambda: GIVEN[method](loop))
    (finding,) = report.findings
    assert finding.code == "LS401"
    assert f"was given work ({method}()) by a forked child" in finding.message
    assert finding.stacks[0].title == "used in the child"


@pytest.mark.parametrize("method", GIVEN)
def test_what_a_child_schedules_on_the_loop_that_forked_it(method: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        by_os_fork(lambda: GIVEN[method](loop))

    report = pytest_loopsafe.run(main, loops=2, check=False)
    assert [(one.code, one.count, one.passes) for one in report.findings] == [("LS401", 2, (1, 2))]


@pytest.mark.parametrize("method", ["call_soon_threadsafe", "call_later", "ensure_future"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_child_schedules_on_a_loop_of_a_thread(way: str, method: str) -> None:
    with running_elsewhere() as loop:
        report = report_of(way, lambda: GIVEN[method](loop))
    assert codes(report) == {"LS401"}


@pytest.mark.parametrize("how", LETS_GO)
@pytest.mark.parametrize("way", WAYS)
def test_to_let_go_of_a_parents_loop_gives_it_no_work(way: str, how: str) -> None:
    with with_a_task() as (loop, task):
        report = report_of(way, lambda: LETS_GO[how](loop, task))
        loop.run_until_complete(asyncio.sleep(0))
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        beside = report_of(way, lambda: LETS_GO[how](loop, task)) if "once" not in how else report
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
    assert not report.findings, str(report)
    assert not beside.findings, str(beside)


CLIENT = """
class Client:
    def __init__(self, loop):
        self.loop = loop

    def close(self):
        self.loop.call_soon_threadsafe(print)
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_library_may_close_its_client_in_a_child(way: str, tmp_path: Path) -> None:
    file = tmp_path / "site-packages" / "client.py"
    file.parent.mkdir()
    file.write_text(CLIENT)
    names: dict[str, Any] = {}
    exec(compile(CLIENT, str(file), "exec"), names)
    with parents_loop() as loop:
        report = report_of(way, names["Client"](loop).close)
        beside = report_of(way, lambda: names["Client"](loop).close())
    assert not report.findings, str(report)
    assert not beside.findings, str(beside)


@pytest.mark.parametrize("way", WAYS)
def test_a_childs_own_loop_beside_a_parents(way: str) -> None:
    async def main() -> None:
        for given in GIVEN.values():
            given(asyncio.get_running_loop())
        await asyncio.sleep(0.02)

    with with_a_task():
        report = report_of(way, lambda: asyncio.run(main()))
    assert not report.findings, str(report)


def test_a_coroutine_handed_to_a_loop_of_the_parent_never_starts() -> None:
    with running_elsewhere() as loop:

        def work() -> None:
            coroutine = asyncio.sleep(0)
            asyncio.run_coroutine_threadsafe(coroutine, loop)

        report = report_of("schedule", work)
    assert codes(report) == {"LS401"}


@pytest.mark.parametrize("way", WAYS)
def test_a_lock_that_is_bound_to_a_loop_of_the_parent(way: str) -> None:
    lock = asyncio.Lock()

    async def contend() -> None:
        async def hold() -> None:
            async with lock:
                await asyncio.sleep(0)

        await asyncio.gather(hold(), hold())

    asyncio.run(contend())
    report = report_of(way, swallowing(lambda: asyncio.run(contend())))
    assert codes(report) == {"LS401"}


# -- LS402 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [False, True], ids=["open loop", "closed loop"])
@pytest.mark.parametrize("where", ["in a loop", "in sync code"])
@pytest.mark.parametrize("way", WAYS)
def test_a_parents_connection_that_is_written_to(way: str, where: str, closed: bool) -> None:
    with connected(closed=closed) as (_, _, writer):

        async def write() -> None:
            writer.write(b"from the child\n")

        if where == "in a loop":
            work = swallowing(lambda: asyncio.run(write()))
        else:
            work = swallowing(lambda: writer.write(b"from the child\n"))
        report = report_of(way, work)
    assert "LS402" in codes(report)
    assert codes(report) <= {"LS401", "LS402"}
    assert not [one.message for one in report.findings if "thread" in one.message]


def test_a_connection_of_the_loop_that_forked_the_child() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=near)
        by_os_fork(lambda: writer.write(b"from the child\n"))
        writer.close()
        await writer.wait_closed()
        far.close()

    report = pytest_loopsafe.run(main, loops=1, check=False)
    finding = next(one for one in report.findings if one.code == "LS402")
    assert finding.message.startswith("write() was called in a forked child on an open transport")
    assert finding.message.endswith(
        f"of loop 1 of the parent (running), made in process {os.getpid()}"
    )
    assert finding.stacks[0].title == "used in the child"


@pytest.mark.parametrize("way", WAYS)
def test_a_parents_connection_that_is_read_from(way: str) -> None:
    with connected() as (_, reader, _):

        async def read() -> None:
            await reader.readline()

        report = report_of(way, swallowing(lambda: asyncio.run(read())))
    assert "LS402" in codes(report)
    assert codes(report) <= {"LS401", "LS402"}


@pytest.mark.parametrize("closed", [False, True], ids=["open loop", "closed loop"])
@pytest.mark.parametrize("way", WAYS)
def test_a_global_client_that_the_parent_has_used(
    way: str, closed: bool, loopsafe_redis: str
) -> None:
    redis = pytest.importorskip("redis.asyncio")
    loop = asyncio.new_event_loop()
    client = redis.Redis.from_url(loopsafe_redis)
    loop.run_until_complete(client.ping())
    connection = client.connection_pool._available_connections[0]
    if closed:
        loop.close()
    try:
        report = report_of(way, swallowing(lambda: asyncio.run(client.ping())))
    finally:
        discard(connection._writer, loop)
        connection._reader = connection._writer = None
        loop.close()
    assert "LS402" in codes(report)
    assert codes(report) <= {"LS401", "LS402"}


# -- what has to stay silent -------------------------------------------------------------------

LOCK = asyncio.Lock()


def a_lock_made_at_import() -> Any:
    async def main() -> None:
        async with LOCK:
            await asyncio.sleep(0)

    return lambda: asyncio.run(main())


def a_lock_that_the_parent_used_without_waiting() -> Any:
    work = a_lock_made_at_import()
    work()
    return work


def a_multiprocessing_queue() -> Any:
    context = multiprocessing.get_context("fork")
    queue, (here, there) = context.SimpleQueue(), context.Pipe()

    def work() -> None:
        queue.put(1)
        there.send(2)
        assert queue.get() == 1
        assert here.recv() == 2
        for one in (queue, here, there):
            one.close()

    work.clean_up = lambda: [one.close() for one in (queue, here, there)]
    return work


def a_listening_socket() -> Any:
    listener = socket.create_server(("127.0.0.1", 0))

    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, sock=listener.dup()):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n"
            writer.close()
            await writer.wait_closed()

    def work() -> None:
        asyncio.run(main())

    work.clean_up = listener.close
    return work


def an_accepted_connection() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()

    async def main() -> None:
        _, writer = await asyncio.open_connection(sock=accepted)
        writer.write(b"hello\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def work() -> None:
        asyncio.run(main())

    work.clean_up = lambda: (client.close(), accepted.close())
    return work


def a_subprocess() -> Any:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        await process.wait()

    def work() -> None:
        subprocess.run([sys.executable, "-c", ""], check=True)
        asyncio.run(main())

    return work


def a_process_pool() -> Any:
    async def main() -> None:
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(pool, abs, -1) == 1

    return lambda: asyncio.run(main())


def an_end_at_once() -> Any:
    return lambda: os._exit(0)


def a_fork_in_a_fork() -> Any:
    def work() -> None:
        by_os_fork(lambda: asyncio.run(asyncio.sleep(0)))
        asyncio.run(asyncio.sleep(0))

    return work


def a_child_that_closes_all_descriptors() -> Any:
    def work() -> None:
        asyncio.run(asyncio.sleep(0))
        os.closerange(3, 200)
        asyncio.run(asyncio.sleep(0))

    return work


TWINS = (
    a_lock_made_at_import,
    a_lock_that_the_parent_used_without_waiting,
    a_multiprocessing_queue,
    a_listening_socket,
    an_accepted_connection,
    a_subprocess,
    a_process_pool,
    an_end_at_once,
    a_fork_in_a_fork,
    a_child_that_closes_all_descriptors,
)


@pytest.mark.parametrize("make", TWINS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("way", ["os.fork", "multiprocessing", "schedule"])
def test_safe_code_stays_silent(way: str, make: Callable[[], Any]) -> None:
    work = make()
    try:
        report = report_of(way, work)
    finally:
        getattr(work, "clean_up", int)()
    assert not report.findings, str(report)
    assert make is an_end_at_once or report.passes[0].error is None


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("way", WAYS)
def test_to_close_what_belongs_to_a_closed_loop_is_no_use_of_it(way: str, how: str) -> None:
    with connected(closed=True) as (_, _, writer):
        report = report_of(way, swallowing(getattr(writer.transport, how)))
    assert not report.findings, str(report)


def test_a_lock_that_the_parent_has_used_in_the_same_run_is_copied() -> None:
    """Nobody waited for it, so it is bound to nothing, and the child has one of its own."""
    lock = asyncio.Lock()

    async def use() -> None:
        async with lock:
            await asyncio.sleep(0)

    def body() -> None:
        with asyncio.Runner() as runner:
            runner.run(use())
            by_os_fork(lambda: asyncio.run(use()))
            runner.run(use())

    report = pytest_loopsafe.run(body, loops=1)
    assert not report.findings, str(report)


def test_a_loop_of_ones_own_in_the_child_of_a_running_loop() -> None:
    async def main() -> None:
        by_os_fork(lambda: asyncio.run(asyncio.sleep(0)))
        await asyncio.sleep(0)

    report = pytest_loopsafe.run(main, loops=2)
    assert not report.findings
    assert len(report.loops) == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_parent_with_a_busy_thread_does_not_stall_the_child(way: str) -> None:
    stop = threading.Event()
    lock = asyncio.Lock()

    async def spin() -> None:
        while not stop.is_set():
            async with lock:
                await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: asyncio.run(spin()))
    thread.start()
    try:
        for _ in range(3):
            report = report_of(way, lambda: asyncio.run(asyncio.sleep(0)), timeout=10)
            assert not report.findings, str(report)
            assert report.passes[0].error is None
    finally:
        stop.set()
        thread.join()


def test_a_parent_makes_no_folder_in_its_running_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks for blocking calls there, as blockbuster does, would find ours."""
    makers, mkdir = [], os.mkdir

    def noted(*args: Any, **kwargs: Any) -> None:
        makers.append(os.getpid())
        mkdir(*args, **kwargs)

    monkeypatch.setattr(os, "mkdir", noted)

    async def main() -> None:
        by_os_fork(lambda: None)

    pytest_loopsafe.run(main, loops=2)
    assert makers == []


def test_a_child_does_not_count_in_its_parent() -> None:
    async def main() -> None:
        with parents_loop() as loop:
            by_os_fork(swallowing(lambda: loop.run_until_complete(asyncio.sleep(0))))

    report = pytest_loopsafe.run(main, loops=2, check=False)
    assert [(one.code, one.count, one.passes) for one in report.findings] == [("LS401", 2, (1, 2))]
    assert len(report.loops) == 4
