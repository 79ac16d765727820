"""LS105: what reaches a loop from outside of it, and never runs or races."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._cpython.loops import running

Body = Callable[[asyncio.AbstractEventLoop], Awaitable[Any]]


@pytest.fixture
def idle() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that was made at import, say, and that nobody runs."""
    loop = asyncio.new_event_loop()
    yield loop
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


async def nothing() -> None:
    await asyncio.sleep(0)


async def creates_a_task(idle: asyncio.AbstractEventLoop) -> None:
    idle.create_task(nothing())


async def calls_soon(idle: asyncio.AbstractEventLoop) -> None:
    idle.call_soon(print)


async def calls_later(idle: asyncio.AbstractEventLoop) -> None:
    idle.call_later(0, print)


async def calls_from_a_thread(idle: asyncio.AbstractEventLoop) -> None:
    def post() -> None:
        idle.call_soon_threadsafe(print)

    await asyncio.to_thread(post)


async def hands_over(idle: asyncio.AbstractEventLoop) -> None:
    asyncio.run_coroutine_threadsafe(nothing(), idle)


def test_the_late_answer_of_a_pool_is_nobodys_call(idle: asyncio.AbstractEventLoop) -> None:
    """Nobody waits for it, and no line of the user's has made the call."""
    gate = threading.Event()

    async def body() -> None:
        gate.clear()
        idle.run_in_executor(pool, gate.wait)
        gate.set()
        pool.submit(int).result()

    with ThreadPoolExecutor(1) as pool:
        report = pytest_loopsafe.run(body, loops=2)
    assert report.findings == ()


@pytest.mark.parametrize(
    "body", [creates_a_task, calls_soon, calls_later, calls_from_a_thread, hands_over]
)
def test_work_for_a_loop_that_nobody_runs(body: Body, idle: asyncio.AbstractEventLoop) -> None:
    report = pytest_loopsafe.run(body, idle, loops=2, check=False)
    assert {finding.code for finding in report.findings} == {"LS105"}
    assert "nobody runs" in str(report) or "no thread runs" in str(report)
    assert [finding.passes for finding in report.findings] == [(1, 2)]


def test_who_waits_in_vain_in_each_pass_is_told_of_each(idle: asyncio.AbstractEventLoop) -> None:
    """What never began does not run on, though it is handed over again in the next pass."""

    def body() -> None:
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(nothing(), idle).result(0.001)
        asyncio.run(nothing())

    report = pytest_loopsafe.run(body, loops=3, check=False)
    (finding,) = report.findings
    assert (finding.code, finding.count, finding.passes) == ("LS105", 3, (1, 2, 3))


@pytest.mark.parametrize("body", [creates_a_task, calls_soon, calls_from_a_thread, hands_over])
def test_work_that_ran_after_all(body: Body) -> None:
    def run() -> None:
        loop = asyncio.new_event_loop()
        asyncio.run(body(loop))  # type: ignore[arg-type]
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    report = pytest_loopsafe.run(run)
    assert report.findings == ()


class InThread:
    """A loop that a thread runs, as a background loop's helper has it."""

    def __enter__(self) -> asyncio.AbstractEventLoop:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self.loop

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def test_a_loop_is_stopped_from_another_thread() -> None:
    def run() -> None:
        with InThread() as loop:
            loop.stop()

    report = pytest_loopsafe.run(run, check=False)
    assert [finding.code for finding in report.findings] == ["LS105"]
    assert "stop() reached" in report.findings[0].message


@pytest.mark.parametrize("method", ["write", "writelines"])
def test_a_stream_is_written_to_from_another_thread(method: str) -> None:
    async def body() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            data = b"line\n" if method == "write" else [b"line\n"]
            await asyncio.to_thread(getattr(writer, method), data)
            writer.close()

    report = pytest_loopsafe.run(body, check=False)
    assert "LS105" in [finding.code for finding in report.findings]


def test_a_loop_further_out_in_the_same_thread_is_no_other_threads() -> None:
    def run() -> None:
        outer = asyncio.new_event_loop()

        async def body() -> None:
            with running(None):  # from CPython 3.14 on with the thread's task set aside, too
                inner = asyncio.new_event_loop()
                inner.call_soon(outer.call_soon, print)
                inner.run_until_complete(asyncio.sleep(0))
                inner.close()

        outer.run_until_complete(body())
        outer.close()

    report = pytest_loopsafe.run(run)
    assert report.findings == ()


def test_a_second_stop_after_the_thread_has_ended() -> None:
    def run() -> None:
        background = InThread()
        with background as loop:
            pass
        assert loop.is_closed()

        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.call_soon_threadsafe(loop.stop)  # once more, to be sure
        loops.append(loop)

    loops: list[asyncio.AbstractEventLoop] = []
    report = pytest_loopsafe.run(run, ignore=["LS304"])
    for loop in loops:
        loop.close()
    assert report.findings == ()


def test_what_has_run_is_not_waiting_though_somebody_keeps_its_handle() -> None:
    kept: list[Any] = []
    loop = asyncio.new_event_loop()

    async def body() -> None:
        kept.append(loop.call_soon(print))

    def run() -> None:
        asyncio.run(body())
        loop.call_soon(loop.stop)
        loop.run_forever()

    report = pytest_loopsafe.run(run, loops=2)
    loop.close()
    assert report.findings == ()


@pytest.mark.usefixtures("thawed")  # a search does not meet what is frozen
def test_the_thread_that_runs_the_code_is_not_whose_the_future_is() -> None:
    """``threading`` itself keeps a thread while it runs: of what it was given that says nothing."""

    async def answer(future: asyncio.Future[int]) -> None:
        future.set_result(1)

    async def body() -> None:
        future = asyncio.get_running_loop().create_future()
        waiter = asyncio.ensure_future(asyncio.wait([future]))
        await asyncio.sleep(0)
        handed = asyncio.run_coroutine_threadsafe(answer(future), other)
        await asyncio.to_thread(handed.result)
        await waiter

    with InThread() as other:
        report = pytest_loopsafe.run(body, check=False, loops=2)
    assert [(one.code, one.owner) for one in report.errors] == [("LS105", None)]
