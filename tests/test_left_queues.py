"""LS306: what was still unread when its loop ended, or went with its queue, is work that is lost;
wake-ups are none."""

import asyncio
import enum
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import pytest_loopsafe

Body = Callable[[], Awaitable[Any]]


class Writer:
    """Fills a queue, and is closed in order before its reader has come to it."""

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.reader = asyncio.create_task(self.read())

    async def read(self) -> None:
        while True:
            await self.queue.get()

    async def close(self) -> None:
        for item in self.items:
            self.queue.put_nowait(item)
        self.reader.cancel()
        await asyncio.wait([self.reader])


def left_with(*items: Any) -> Body:
    async def body() -> None:
        writer = Writer(*items)
        await asyncio.sleep(0)
        await writer.close()

    return body


def unheard_future() -> Body:
    async def body() -> None:
        writer = Writer(asyncio.get_running_loop().create_future())
        await asyncio.sleep(0)
        await writer.close()

    return body


def found(body: Any, **settings: Any) -> list[tuple[int | None, str | None]]:
    """The loop and the owner of each finding."""
    report = pytest_loopsafe.run(body, loops=2, check=False, **settings)
    assert not [note for note in report.notes if "failed" in note]
    assert [one.error for one in report.passes if one.error is not None] == []
    left = [one for one in report.findings if one.code == "LS306"]
    return [(one.loop.number if one.loop else None, one.owner) for one in left]


job = "a job"


class Signal(enum.Enum):
    WAKE = 1


@pytest.mark.parametrize(
    "items", [(job,), (job, None), (job, job), ({"id": 1}, {"id": 2}), (0,), ((1, 2),)]
)
def test_work_is_lost(items: tuple[Any, ...]) -> None:
    assert found(left_with(*items))


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (
            (job,),
            "1 item of the Queue was still unread when loop 1 ended, and nobody read it later",
        ),
        ((job, job), "2 items of the Queue were still unread when loop 1 ended, and nobody read "),
    ],
)
def test_one_item_is_one(items: tuple[Any, ...], words: str) -> None:
    report = pytest_loopsafe.run(left_with(*items), loops=2, check=False)
    assert report.findings[0].message.startswith(words)


@pytest.mark.parametrize(
    "items", [(None,), (None, None), (True,), (object(),), ((),), (Signal.WAKE,) * 2]
)
def test_a_wake_up_is_no_work(items: tuple[Any, ...]) -> None:
    assert found(left_with(*items)) == []


def test_a_future_that_tells_when_it_is_heard_is_a_wake_up() -> None:
    assert found(unheard_future()) == []


class Connection:
    pass


class Pool:
    """Its queue has what is free; each call takes one, and may put back another."""

    def __init__(self, *stock: Any) -> None:
        self.free: asyncio.Queue[Any] = asyncio.Queue()
        for thing in stock:
            self.free.put_nowait(thing)

    async def call(self, replace: Callable[[Any], Any]) -> None:
        self.free.put_nowait(replace(await self.free.get()))


class Pools:
    """One for each loop."""

    pool: Pool | None = None


pools = Pools()


@pytest.mark.parametrize(
    ("stock", "replace", "calls", "lost"),
    [
        (lambda: (Connection(), Connection()), lambda one: one, 3, False),
        (lambda: (Connection(),), lambda one: one, 1, False),
        (lambda: ("key", "spare"), lambda one: one, 2, False),
        (lambda: (Connection(), Connection()), lambda one: one, 0, True),  # never taken: not known
        (lambda: (Connection(), Connection()), lambda _: Connection(), 3, True),  # other work
        (lambda: ("job",), lambda one: one, 1, True),  # the same work again
        (lambda: ({"a": 1}, {"a": 1}), lambda one: dict(one), 3, True),
    ],
)
def test_a_stock_that_is_back_is_not_lost(
    stock: Callable[[], Any], replace: Callable[[Any], Any], calls: int, lost: bool
) -> None:
    async def body() -> None:
        pools.pool = pool = Pool(*stock())
        for _ in range(calls):
            await pool.call(replace)

    assert bool(found(body)) is lost


def test_a_stock_of_which_something_is_missing_is_lost() -> None:
    async def body() -> None:
        pools.pool = pool = Pool(Connection(), Connection(), Connection())
        await pool.call(lambda one: one)
        await pool.free.get()

    assert found(body)


class Log:
    """Makes itself a new queue in each loop."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] | None = None
        self.loop: Any = None

    def put(self, line: str) -> None:
        loop = asyncio.get_running_loop()
        if self.queue is None or self.loop is not loop:
            self.queue, self.loop = asyncio.Queue(), loop
        self.queue.put_nowait(line)


log = Log()
log_of_one_pass = Log()


def test_what_went_with_a_queue_that_was_replaced_is_lost() -> None:
    async def body() -> None:
        log.put("line")

    assert [loop for loop, _ in found(body)] == [1]


def test_a_queue_is_replaced_also_within_a_pass() -> None:
    async def write() -> None:
        log_of_one_pass.put("line")

    with pytest_loopsafe.watch() as report:
        asyncio.run(write())
        asyncio.run(write())
    left = [one for one in report.findings if one.code == "LS306"]
    assert [one.owner for one in left] == ["test_left_queues.log_of_one_pass.queue"] * len(left)
    assert len(left) > 0


def test_what_only_collects_is_dropped() -> None:
    async def body() -> int:
        own = Log()
        own.put("line")
        assert own.queue is not None
        return own.queue.qsize()

    assert found(body) == []


class Distinct(asyncio.Queue[str]):
    """Has its items in a set, and does not like to be asked."""

    asked = 0

    def _init(self, maxsize: int) -> None:
        self._queue: set[str] = set()

    def _put(self, item: str) -> None:
        self._queue.add(item)

    def _get(self) -> str:
        return self._queue.pop()

    def qsize(self) -> int:
        type(self).asked += 1
        return len(self._queue)

    def empty(self) -> bool:
        return not self._queue


distinct = Distinct()


def test_a_queue_of_somebodys_own_kind_is_not_asked() -> None:
    async def body() -> None:
        distinct.put_nowait("line")

    assert found(body) == [(1, "test_left_queues.distinct")]
    assert Distinct.asked == 0
