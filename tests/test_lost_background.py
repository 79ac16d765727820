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


def long_timer() -> Body:
    passes = itertools.count()

    async def body() -> None:
        if next(passes) == 0:
            asyncio.get_running_loop().call_later(60, print)

    return body


@pytest.mark.parametrize(
    "make", [started_in_each_loop, many_behind_a_wrapper, replaced_in_each_loop, long_timer]
)
@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "persistent"])
def test_nothing_is_lost(make: Callable[[], Body], schedule: str) -> None:
    report = pytest_loopsafe.run(make(), schedule=schedule, loops=4)
    assert "LS207" not in [finding.code for finding in report.findings]
