"""LS207: background work that died with its loop is found, whatever keeps it from coming back.

In each case two thirds of the work is lost: it is an error, and names what stands for the dead
task. Their twins do come back, or were never meant to.
"""

import asyncio
import functools
import itertools
import threading
import types
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import pytest_loopsafe

Body = Callable[[], Awaitable[Any]]


async def forever() -> None:
    await asyncio.Event().wait()


# -- what remembers that it was started ----------------------------------------------------------

flag, count, state, home = False, 0, "", None
entries: dict[str, Any] = {}
names: set[str] = set()
event = threading.Event()
namespace = types.SimpleNamespace(up=False)


def module_flag() -> None:
    global flag
    if not flag:
        flag = True
        asyncio.create_task(forever())


def counter() -> None:
    global count
    if count == 0:
        asyncio.create_task(forever())
    count += 1


def text() -> None:
    global state
    if state != "running":
        state = "running"
        asyncio.create_task(forever())


def its_loop() -> None:
    global home
    if home is None:
        home = asyncio.get_running_loop()
        asyncio.create_task(forever())


def entry() -> None:
    if "worker" not in entries:
        entries["worker"] = asyncio.create_task(forever()).get_name()


def member() -> None:
    if "worker" not in names:
        names.add("worker")
        asyncio.create_task(forever())


def set_event() -> None:
    if not event.is_set():
        asyncio.create_task(forever())
        event.set()


def attribute() -> None:
    if not namespace.up:
        namespace.up = True
        asyncio.create_task(forever())


def own_attribute() -> None:
    if not getattr(own_attribute, "up", False):
        own_attribute.up = True  # type: ignore[attr-defined]
        asyncio.create_task(forever())


@functools.cache
def cached() -> None:
    asyncio.create_task(forever())


def _closure() -> Callable[[], None]:
    up = False

    def start() -> None:
        nonlocal up
        if not up:
            up = True
            asyncio.create_task(forever())

    return start


closure = _closure()


class Service:
    up = False

    def start(self) -> None:
        async def work() -> None:
            await forever()

        if not self.up:
            self.up = True
            asyncio.create_task(work())

    @classmethod
    def start_all(cls) -> None:
        if not cls.up:
            cls.up = True
            asyncio.create_task(forever())


service = Service()


def instance() -> None:
    service.start()


def of_class() -> None:
    Service.start_all()


GUARDS: dict[Callable[[], None], str] = {
    module_flag: "flag",
    counter: "count",
    text: "state",
    its_loop: "home",
    entry: "entries",
    member: "names",
    set_event: "event",
    attribute: "namespace.up",
    own_attribute: "own_attribute.up",
    cached: "cached",
    closure: "up",
    instance: "service.up",
    of_class: "Service.up",
}


@pytest.mark.parametrize(
    ("start", "what"), GUARDS.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_what_keeps_it_from_coming_back_is_named(start: Callable[[], None], what: str) -> None:
    async def body() -> None:
        start()
        await asyncio.sleep(0)

    report = pytest_loopsafe.run(body, check=False)

    (lost,) = [finding for finding in report.findings if finding.code == "LS207"]
    assert lost.is_error
    assert lost.owner is not None
    assert what in lost.owner


# -- more ways to be lost -------------------------------------------------------------------------


class Periodic:
    """A helper that many use: the code of the task is always the same."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self.task is None:
            self.task = asyncio.create_task(self.work())

    async def work(self) -> None:
        await forever()

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


heartbeat, stopped, beats = Periodic(), Periodic(), []


async def logged(work: Awaitable[None]) -> None:
    await work


async def request() -> None:
    await asyncio.sleep(0)


def behind_a_wrapper() -> Body:
    up = itertools.count()

    async def body() -> None:
        if next(up) == 0:
            asyncio.create_task(logged(forever()))
        await asyncio.create_task(logged(request()))

    return body


def beside_one_that_comes_back() -> Body:
    async def body() -> None:
        mine = Periodic()
        mine.start()
        heartbeat.start()
        await asyncio.sleep(0)
        await mine.stop()

    return body


def stopped_in_order_and_kept() -> Body:
    async def body() -> None:
        stopped.start()
        await asyncio.sleep(0)
        await stopped.stop()

    return body


beating = False


def beat() -> None:
    beats.append(1)
    asyncio.get_running_loop().call_later(60, beat)


def timer_that_sets_itself() -> Body:
    async def body() -> None:
        global beating
        if not beating:
            beating = True
            beat()

    return body


@pytest.mark.parametrize(
    "make",
    [
        behind_a_wrapper,
        beside_one_that_comes_back,
        stopped_in_order_and_kept,
        timer_that_sets_itself,
    ],
)
def test_it_is_lost_too(make: Callable[[], Body]) -> None:
    report = pytest_loopsafe.run(make(), check=False)
    assert "LS207" in [finding.code for finding in report.findings]


# -- twins that lose nothing ----------------------------------------------------------------------


def started_in_each_loop() -> Body:
    async def body() -> None:
        mine = Periodic()
        mine.start()
        await asyncio.sleep(0)

    return body


def many_behind_a_wrapper() -> Body:
    async def body() -> None:
        await asyncio.gather(*(asyncio.create_task(logged(request())) for _ in range(50)))
        asyncio.create_task(logged(forever()))
        await asyncio.sleep(0)

    return body


def replaced_in_each_loop() -> Body:
    kept: dict[str, Periodic] = {}

    async def body() -> None:
        kept["it"] = Periodic()
        kept["it"].start()
        await asyncio.sleep(0)
        await kept["it"].stop()

    return body


class Store:
    """Saves later, and takes back what it meant to save."""

    save: asyncio.Task[None] | None = None

    def save_later(self) -> None:
        if self.save is not None:
            self.save.cancel()
        self.save = asyncio.create_task(forever())

    async def flush(self) -> None:
        if self.save is not None and not self.save.done():
            self.save.cancel()
            await asyncio.wait([self.save])


store = Store()


def saved_once_and_flushed() -> Body:
    passes = itertools.count()

    async def body() -> None:
        if next(passes) == 0:
            store.save_later()
            await asyncio.sleep(0)
        await store.flush()

    return body


class Connection:
    def __init__(self) -> None:
        self.task = asyncio.create_task(self.read())

    async def read(self) -> None:
        await forever()


first: Connection | None = None


def first_of_many_is_remembered() -> Body:
    async def body() -> None:
        global first
        mine = Connection()
        first = first or mine
        await asyncio.sleep(0)

    return body


def worker_of_all_passes() -> Body:
    kept: dict[str, Any] = {}

    def body() -> None:
        if not kept:
            loop = kept["loop"] = asyncio.new_event_loop()
            kept["thread"] = threading.Thread(target=loop.run_forever, daemon=True)
            kept["thread"].start()
            kept["work"] = asyncio.run_coroutine_threadsafe(forever(), loop)
        kept["passes"] = kept.get("passes", 0) + 1
        asyncio.run(asyncio.sleep(0))
        if kept["passes"] == 4:
            kept["work"].cancel()
            kept["loop"].call_soon_threadsafe(kept["loop"].stop)
            kept["thread"].join()
            kept["loop"].close()

    return body  # type: ignore[return-value]


def long_timer() -> Body:
    passes = itertools.count()

    async def body() -> None:
        if next(passes) == 0:
            asyncio.get_running_loop().call_later(60, print)

    return body


@pytest.mark.parametrize(
    "make",
    [
        started_in_each_loop,
        many_behind_a_wrapper,
        replaced_in_each_loop,
        saved_once_and_flushed,
        first_of_many_is_remembered,
        worker_of_all_passes,
        long_timer,
    ],
)
@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "persistent"])
def test_nothing_is_lost(make: Callable[[], Body], schedule: str) -> None:
    global first
    first, store.save = None, None
    report = pytest_loopsafe.run(make(), schedule=schedule, loops=4)
    assert [finding.message for finding in report.findings if finding.code == "LS207"] == []


def test_an_argument_that_is_a_proxy_is_left_alone() -> None:
    touched: list[str] = []

    class Proxy:
        def __getattr__(self, name: str) -> Any:
            touched.append(name)
            raise RuntimeError("working outside of a request")

    async def handle(request: Any) -> None:
        await asyncio.sleep(0)

    async def body() -> None:
        await asyncio.create_task(handle(Proxy()))

    report = pytest_loopsafe.run(body)
    assert (report.findings, report.notes, touched) == ((), (), [])


def test_a_worker_is_seen_among_many_tasks_of_a_librarys_wrapper() -> None:
    kept: list[Any] = []

    async def body() -> None:
        if not kept:
            kept.append(asyncio.create_task(forever()))
        await asyncio.gather(*(asyncio.wait_for(request(), 5) for _ in range(50)))

    report = pytest_loopsafe.run(body, check=False)
    assert "LS207" in [finding.code for finding in report.findings if finding.is_error]
