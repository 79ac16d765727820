"""LS103: who goes on posting to a dead loop while later ones do its work is not prepared."""

import asyncio
import queue
import threading
from collections.abc import Callable
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


@Schedule
def test_from_the_loop_that_runs_now(schedule: str) -> None:
    publisher = Publisher()

    async def body() -> None:
        publisher.loop = publisher.loop or asyncio.get_running_loop()
        publisher.post(1)
        await asyncio.sleep(0)

    assert codes(over_loops(body, schedule)) == {"LS103"}


@Schedule
def test_from_a_thread_that_goes_on(schedule: str) -> None:
    """The thread of a device's library: it was told of one loop, and calls back for ever."""
    publisher, events = Publisher(), queue.SimpleQueue[threading.Event | None]()

    def call_back() -> None:
        while (done := events.get()) is not None:
            publisher.post(1)
            done.set()

    thread = threading.Thread(target=call_back)
    thread.start()

    async def body() -> None:
        publisher.loop = publisher.loop or asyncio.get_running_loop()
        done = threading.Event()
        events.put(done)
        await asyncio.to_thread(done.wait)

    try:
        assert codes(over_loops(body, schedule)) == {"LS103"}
    finally:
        events.put(None)
        thread.join()


@Schedule
def test_behind_a_handler_further_out_that_asks_the_loop(schedule: str) -> None:
    publisher = Publisher()

    def hand_over(item: int) -> None:
        assert publisher.loop is not None
        [publisher.loop.call_soon_threadsafe(publisher.got.append, one) for one in (item, item)]

    async def body() -> None:
        publisher.loop = publisher.loop or asyncio.get_running_loop()
        try:
            hand_over(1)
        except RuntimeError:
            if not publisher.loop.is_closed():
                raise
        await asyncio.sleep(0)

    assert codes(over_loops(body, schedule)) == {"LS103"}


def test_a_coroutine_that_is_handed_over() -> None:
    publisher = Publisher()

    async def work() -> None:
        pass

    async def body() -> None:
        publisher.loop = publisher.loop or asyncio.get_running_loop()
        coroutine = work()
        try:
            asyncio.run_coroutine_threadsafe(coroutine, publisher.loop)
        except RuntimeError:
            coroutine.close()
        await asyncio.sleep(0.01)

    assert codes(over_loops(body, "consecutive")) == {"LS103"}


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
def test_what_could_not_be_posted_is_done_at_once(schedule: str) -> None:
    publisher = Publisher()

    def deliver(call: Callable[[int], None], item: int) -> None:
        assert publisher.loop is not None
        try:
            publisher.loop.call_soon_threadsafe(call, item)
        except RuntimeError:
            call(item)

    async def body() -> None:
        publisher.loop = publisher.loop or asyncio.get_running_loop()
        deliver(publisher.got.append, 1)
        await asyncio.sleep(0)

    assert codes(over_loops(body, schedule, 5)) == set()
    assert len(publisher.got) == 5


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

    async def something_else(number: int) -> None:
        publisher.post(number)

    def run() -> None:
        asyncio.run(listen())
        for number in range(3):
            asyncio.run(something_else(number))

    assert codes(pytest_loopsafe.run(run, loops=1, check=False)) == set()
