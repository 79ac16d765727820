"""LS103: who goes on posting to a dead loop while later ones do its work is not prepared."""

import asyncio
import functools
import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe import LoopReport

Schedule = pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads"])


class Publisher:
    """It posts to the loop that was there first."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.lost: list[Any] = []
        self.got: list[Any] = []

    def post(self, item: int) -> None:
        assert self.loop is not None
        try:
            self.loop.call_soon_threadsafe(self.got.append, item)
        except RuntimeError:
            self.lost.append(item)


def codes(report: LoopReport) -> set[str]:
    return {finding.code for finding in report.findings} - {"LS206"}  # it keeps what is dead


def over_loops(body: Callable[[], Any], schedule: str, loops: int = 3) -> LoopReport:
    return pytest_loopsafe.run(body, loops=loops, schedule=schedule, check=False)


class CallingBack:
    """The thread of a device's library: it was told of one loop, and calls back for ever."""

    def __init__(self, post: Callable[[int], None]) -> None:
        self._events = queue.SimpleQueue[threading.Event | None]()
        self._post = post
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "CallingBack":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._events.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (done := self._events.get()) is not None:
            self._post(1)
            done.set()

    async def once(self) -> None:
        done = threading.Event()
        self._events.put(done)
        await asyncio.to_thread(done.wait)  # at once, where it was quicker than we are
        await asyncio.sleep(0)


def calls_back(publisher: Publisher, post: Callable[[int], None], schedule: str) -> set[str]:
    async def body() -> None:
        publisher.loop = publisher.loop or asyncio.get_running_loop()
        await thread.once()

    with CallingBack(post) as thread:
        return codes(over_loops(body, schedule, 4))


@Schedule
def test_a_thread_that_calls_back(schedule: str) -> None:
    publisher = Publisher()
    assert calls_back(publisher, publisher.post, schedule) == {"LS103"}


@Schedule
def test_behind_a_handler_further_out_that_asks_the_loop(schedule: str) -> None:
    publisher = Publisher()

    def hand_over(item: int) -> None:
        assert publisher.loop is not None
        [publisher.loop.call_soon_threadsafe(publisher.got.append, one) for one in (item, item)]

    def post(item: int) -> None:
        try:
            hand_over(item)
        except RuntimeError:
            assert publisher.loop is not None
            if not publisher.loop.is_closed():
                raise

    assert calls_back(publisher, post, schedule) == {"LS103"}


@Schedule
def test_a_coroutine_that_is_handed_over(schedule: str) -> None:
    publisher = Publisher()

    async def work() -> None:
        pass

    def post(item: int) -> None:
        assert publisher.loop is not None
        coroutine = work()
        try:
            asyncio.run_coroutine_threadsafe(coroutine, publisher.loop)
        except RuntimeError:
            coroutine.close()

    assert calls_back(publisher, post, schedule) == {"LS103"}


# -- what is in order -----------------------------------------------------------------------


@Schedule
def test_once_when_the_next_loop_begins(schedule: str) -> None:
    """What belonged to the last loop is told of its end, if it can be."""
    left: list[asyncio.AbstractEventLoop] = []

    async def body() -> None:
        while left:
            with suppress(RuntimeError):
                left.pop().call_soon_threadsafe(int)
        left.append(asyncio.get_running_loop())

    assert codes(over_loops(body, schedule, 5)) == set()


@Schedule
def test_several_times_at_once(schedule: str) -> None:
    """Ten clients of the last loop are closed, each by a call of its own."""
    left: list[asyncio.AbstractEventLoop] = []

    async def body() -> None:
        while left:
            with suppress(RuntimeError):
                left.pop().call_soon_threadsafe(int)
        left.extend([asyncio.get_running_loop()] * 10)

    assert codes(over_loops(body, schedule, 5)) == set()


@Schedule
def test_to_all_that_ever_listened(schedule: str) -> None:
    """A bus with a listener for each loop: the dead ones refuse, and the live one hears."""
    listeners: list[asyncio.AbstractEventLoop] = []
    heard: list[int] = []

    async def body() -> None:
        listeners.append(asyncio.get_running_loop())
        for loop in listeners:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(heard.append, 1)
        await asyncio.sleep(0)

    assert codes(over_loops(body, schedule, 5)) == set()
    assert len(heard) == 5


@Schedule
def test_one_thread_that_posts_to_all_that_ever_listened(schedule: str) -> None:
    listeners: list[asyncio.AbstractEventLoop] = []
    heard: list[int] = []

    def post(item: int) -> None:
        for loop in listeners:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(heard.append, item)

    async def body() -> None:
        listeners.append(asyncio.get_running_loop())
        await thread.once()
        await asyncio.sleep(0)

    with CallingBack(post) as thread:
        assert codes(over_loops(body, schedule, 5)) == set()
    assert len(heard) == 5


@Schedule
def test_a_thread_that_has_much_to_say_in_the_time_of_one_later_loop(schedule: str) -> None:
    publisher, passes = Publisher(), itertools.count(1)

    async def body() -> None:
        publisher.loop = publisher.loop or asyncio.get_running_loop()
        if next(passes) == 2:
            for _ in range(3):
                await thread.once()

    with CallingBack(publisher.post) as thread:
        assert codes(over_loops(body, schedule, 5)) == set()
    assert len(publisher.lost) == 3


def test_sync_code_between_its_loops() -> None:
    publisher = Publisher()

    async def listen() -> None:
        publisher.loop = publisher.loop or asyncio.get_running_loop()

    def run() -> None:
        asyncio.run(listen())
        publisher.post(1)

    assert codes(pytest_loopsafe.run(run, loops=5, check=False)) == set()
    assert len(publisher.lost) == 5


def test_loops_that_one_thread_of_a_pool_runs() -> None:
    publisher = Publisher()

    async def work() -> None:
        publisher.loop = publisher.loop or asyncio.get_running_loop()
        publisher.post(1)

    with ThreadPoolExecutor(1) as pool:
        run = functools.partial(pool.submit, lambda: asyncio.run(work()))
        report = pytest_loopsafe.run(lambda: run().result(), loops=5, check=False)
    assert codes(report) == set()
    assert len(publisher.lost) == 4


@Schedule
def test_what_could_not_be_posted_is_done_at_once(schedule: str) -> None:
    publisher = Publisher()

    def deliver(call: Callable[[int], None], item: int) -> None:
        assert publisher.loop is not None
        try:
            publisher.loop.call_soon_threadsafe(call, item)
        except RuntimeError:
            call(item)

    def post(item: int) -> None:
        deliver(publisher.got.append, item)

    assert calls_back(publisher, post, schedule) == set()


@Schedule
def test_a_thread_of_its_own_for_each_post(schedule: str) -> None:
    publisher = Publisher()

    async def body() -> None:
        publisher.loop = publisher.loop or asyncio.get_running_loop()
        thread = threading.Thread(target=publisher.post, args=(1,))
        thread.start()
        await asyncio.to_thread(thread.join)
        publisher.post(1)

    assert codes(over_loops(body, schedule, 5)) == set()


@Schedule
def test_a_thread_that_is_told_of_each_loop(schedule: str) -> None:
    publisher = Publisher()

    async def body() -> None:
        await thread.once()  # of the last loop: it finds out that it has gone
        publisher.loop = asyncio.get_running_loop()
        await thread.once()

    def post(item: int) -> None:
        if publisher.loop is not None:
            publisher.post(item)

    with CallingBack(post) as thread:
        assert codes(over_loops(body, schedule, 5)) == set()


def test_late_results_of_a_thread_that_outlived_its_loop() -> None:
    """Nobody waits for them any more, and each thread finds out by itself."""
    go_on, threads = threading.Event(), []

    def work(loop: asyncio.AbstractEventLoop) -> None:
        go_on.wait()
        for _ in range(3):
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(int)

    async def body() -> None:
        threads.append(threading.Thread(target=work, args=(asyncio.get_running_loop(),)))
        threads[-1].start()
        if len(threads) > 1:
            go_on.set()
            await asyncio.to_thread(threads[-2].join)

    report = over_loops(body, "consecutive", 5)
    for thread in threads:
        thread.join()
    assert codes(report) == set()


def test_where_no_later_loop_does_that_work() -> None:
    publisher = Publisher()

    async def listen() -> None:
        publisher.loop = asyncio.get_running_loop()

    async def something_else(thread: CallingBack) -> None:
        await thread.once()

    def run() -> None:
        asyncio.run(listen())
        with CallingBack(publisher.post) as thread:
            for _ in range(3):
                asyncio.run(something_else(thread))

    assert codes(pytest_loopsafe.run(run, loops=1, check=False)) == set()
