"""LS107: an Event that an earlier loop has set, and that a later one takes for its own."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import pytest_loopsafe

Body = Callable[[asyncio.Event], Awaitable[None]]


async def stopped_at_the_end(stop: asyncio.Event) -> None:
    """A worker that asks, and somebody else who stops it: from the second loop on it does none."""

    async def work() -> None:
        while not stop.is_set():
            await asyncio.sleep(0)

    worker = asyncio.create_task(work())
    await asyncio.sleep(0)
    stop.set()
    await worker


async def stopped_by_a_callback(stop: asyncio.Event) -> None:
    """As a signal handler does it."""
    asyncio.get_running_loop().call_soon(stop.set)
    while not stop.is_set():
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def announced_by_a_task(ready: asyncio.Event) -> None:
    """What waits goes on before anything is ready."""

    async def connect() -> None:
        await asyncio.sleep(0)
        ready.set()

    connecting = asyncio.create_task(connect())
    await ready.wait()
    await connecting


async def taken_away_after_the_first(signal: asyncio.Event) -> None:
    """A stale signal is consumed; the loop's own comes when nobody waits any more."""
    if not signal.is_set():
        asyncio.get_running_loop().call_soon(signal.set)
        while not signal.is_set():
            await asyncio.sleep(0)
        return
    asyncio.get_running_loop().call_soon(signal.clear)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def set_once_for_good(configured: asyncio.Event) -> None:
    if not configured.is_set():
        configured.set()
    await configured.wait()


async def set_after_asking(configured: asyncio.Event) -> None:
    """Whoever sets it has asked first, each of them."""

    async def ensure() -> None:
        if not configured.is_set():
            await asyncio.sleep(0)
        configured.set()

    await asyncio.gather(ensure(), ensure())


async def set_by_the_last_of_many_who_asked(configured: asyncio.Event) -> None:
    async def ask(*, last: bool) -> None:
        configured.is_set()
        if last:
            configured.set()

    await asyncio.gather(*(ask(last=number == 99) for number in range(100)))


async def set_again_before_anybody_asks(ready: asyncio.Event) -> None:
    ready.set()

    async def use() -> None:
        assert ready.is_set()

    await asyncio.gather(use(), use())


async def cleared_where_the_loop_begins(stop: asyncio.Event) -> None:
    stop.clear()
    await stopped_at_the_end(stop)


async def cleared_if_it_is_set(stop: asyncio.Event) -> None:
    if stop.is_set():
        stop.clear()
    await stopped_at_the_end(stop)


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads"])
@pytest.mark.parametrize(
    "body",
    [
        stopped_at_the_end,
        stopped_by_a_callback,
        announced_by_a_task,
        taken_away_after_the_first,
    ],
)
def test_what_an_earlier_loop_announced(body: Body, schedule: str) -> None:
    event = asyncio.Event()
    report = pytest_loopsafe.run(body, event, schedule=schedule, check=False)
    assert {finding.code for finding in report.findings} == {"LS107"}
    assert "found set in loop 2" in str(report) or "used in loop 1" in str(report)


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "persistent", "threads"])
@pytest.mark.parametrize(
    "body",
    [
        set_once_for_good,
        set_after_asking,
        set_by_the_last_of_many_who_asked,
        set_again_before_anybody_asks,
        cleared_where_the_loop_begins,
        cleared_if_it_is_set,
    ],
)
def test_what_is_one_for_all_loops(body: Body, schedule: str) -> None:
    event = asyncio.Event()
    report = pytest_loopsafe.run(body, event, schedule=schedule, loops=4, check=False)
    assert report.findings == ()


def test_one_for_each_loop() -> None:
    async def body() -> None:
        await stopped_at_the_end(asyncio.Event())

    assert pytest_loopsafe.run(body, check=False).findings == ()


def test_sync_code_that_sets_it_between_two_loops() -> None:
    """It is nobody's news: the program wants the next loop to end at once."""
    event = asyncio.Event()

    def run() -> None:
        event.set()
        asyncio.run(stopped_at_the_end(event))
        event.clear()

    assert pytest_loopsafe.run(run, check=False).findings == ()


def test_sync_code_that_sets_anew_what_a_loop_had_set() -> None:
    event = asyncio.Event()

    def run() -> None:
        if event.is_set():
            event.clear()
            event.set()
        asyncio.run(stopped_at_the_end(event))

    assert pytest_loopsafe.run(run, check=False).findings == ()
