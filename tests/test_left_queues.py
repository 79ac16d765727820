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


class Ring:
    """The last few; the oldest makes room."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue(maxsize=5)

    def note(self, event: Any) -> None:
        if self.events.full():
            self.events.get_nowait()
        self.events.put_nowait(event)

    async def note_in_turn(self, event: Any) -> None:
        while self.events.full():
            _ = self.events.get_nowait()
        await self.events.put(event)

    def note_at_last(self, event: Any) -> None:
        try:
            self.events.put_nowait(event)
        except asyncio.QueueFull:
            self.events.get_nowait()
            self.events.put_nowait(event)

    async def turn_round(self, event: Any) -> None:
        if self.events.full():
            self.events.put_nowait(self.events.get_nowait())
        else:
            self.events.put_nowait(event)

    async def wait_between(self, event: Any) -> None:
        if self.events.full():
            await self.send(self.events.get_nowait())
        self.events.put_nowait(event)

    async def send(self, event: Any) -> None:
        await asyncio.sleep(0)


class Backlog:
    """One queue for all loops, of which each reads some, and leaves something to the next."""

    def __init__(self, kind: Callable[[], asyncio.Queue[Any]] = asyncio.Queue) -> None:
        self.queue = kind()
        self.made = 0

    def add(self, items: int) -> None:
        for _ in range(items):
            self.made += 1
            self.queue.put_nowait({"number": self.made})

    async def read(self, items: int) -> None:
        for _ in range(min(items, self.queue.qsize())):
            await asyncio.sleep(0)
            self.queue.get_nowait()


backlog = Backlog()


def reads(of_earlier: int, of_own: int, leaves: int) -> Body:
    """Reads so many before it puts in what it has, and so many of that."""

    async def body() -> None:
        await backlog.read(of_earlier)
        backlog.add(of_own + leaves)
        await backlog.read(of_own)

    return body


async def one_round_of_a_reader() -> None:
    """It is ended with its loop; who comes next goes on where it was."""
    backlog.add(2)
    reader = asyncio.create_task(backlog.read(4))
    while backlog.queue.qsize() > 1:
        await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])


async def stops_readers_by_a_word() -> None:
    await backlog.read(9)
    backlog.add(1)
    backlog.queue.put_nowait(None)


async def reads_all_but_the_word() -> None:
    backlog.add(1)
    backlog.queue.put_nowait(None)
    await backlog.read(1)


@pytest.mark.parametrize("loops", [2, 3, 5])
@pytest.mark.parametrize("kind", [asyncio.Queue, asyncio.LifoQueue])
@pytest.mark.parametrize(
    ("body", "lost"),
    [
        (reads(9, 0, 1), False),
        (reads(9, 0, 3), False),
        (reads(9, 2, 1), False),
        (reads(2, 0, 2), False),
        (one_round_of_a_reader, False),
        (stops_readers_by_a_word, False),
        (reads(0, 0, 1), True),
        (reads(0, 2, 3), True),  # a loop reads fewer than were left
        (reads(1, 0, 3), True),
    ],
)
def test_what_a_later_loop_has_read_is_not_lost(
    body: Body, kind: Any, loops: int, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "backlog", Backlog(kind))
    report = pytest_loopsafe.run(body, loops=loops, check=False)
    left = [one for one in report.findings if one.code == "LS306"]
    assert [one.owner for one in left] == [f"{__name__}.backlog.queue"] * len(left)
    assert bool(left) is lost


@pytest.mark.parametrize("loops", [2, 3])
def test_a_word_that_was_left_is_none(loops: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "backlog", Backlog())
    report = pytest_loopsafe.run(reads_all_but_the_word, loops=loops, check=False)
    assert [one.code for one in report.findings if one.code == "LS306"] == []


def test_so_many_are_lost_as_are_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "backlog", Backlog())
    report = pytest_loopsafe.run(reads(1, 0, 3), loops=2, check=False)
    (left,) = [one for one in report.findings if one.code == "LS306"]
    assert left.message.startswith("2 items of the Queue test_left_queues.backlog.queue were ")
    assert left.loop is not None
    assert left.loop.number == 1


async def reads_all_and_leaves_one(own: Backlog) -> None:
    while own.queue.qsize():
        await own.queue.get()
    own.add(1)


async def reads_one_and_leaves_three(own: Backlog) -> None:
    own.add(4)
    await own.queue.get()


@pytest.mark.parametrize(
    ("run", "lost"), [(reads_all_and_leaves_one, 3), (reads_one_and_leaves_three, 1)]
)
def test_a_queue_may_be_gone_by_the_end(run: Callable[[Any], Any], lost: int) -> None:
    """What the last of its loops has left is lost with it, and what was there all the time."""

    def call() -> None:
        own = Backlog()
        for _ in range(3):
            asyncio.run(run(own))

    assert found(call)[0] == (lost, None)


ring = Ring()


@pytest.mark.parametrize("room", [5, 50])
@pytest.mark.parametrize(
    ("note", "lost"),
    [
        (Ring.note, False),
        (Ring.note_in_turn, False),
        (Ring.note_at_last, False),
        (Ring.turn_round, True),
        (Ring.wait_between, True),
    ],
)
def test_who_makes_room_for_the_newest_loses_on_purpose(
    note: Any, room: int, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "events", asyncio.Queue(maxsize=room))

    async def body() -> None:
        for number in range(4):
            waits = note(ring, {"number": number})
            if waits is not None:
                await waits

    report = pytest_loopsafe.run(body, loops=3, check=False)
    assert ("LS306" in {one.code for one in report.findings}) is lost


class Proud(type):
    """Its classes are compared with nothing, and are no keys."""

    def __eq__(cls, other: object) -> bool:
        raise TypeError

    def __hash__(cls) -> int:
        raise TypeError


class Row(metaclass=Proud):
    pass


def test_what_is_put_in_is_not_compared() -> None:
    """Whatever a metaclass says: the code that puts it in must not get its error."""

    async def body() -> None:
        queue: asyncio.Queue[Row] = asyncio.Queue()
        queue.put_nowait(Row())
        queue.get_nowait()

    assert pytest_loopsafe.run(body).findings == ()
