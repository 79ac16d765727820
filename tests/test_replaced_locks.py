"""LS208: a lock is replaced where another was seen in its place, still held or waited on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import pytest_loopsafe

lock: Any = None
locks: dict[str, asyncio.Lock] = {}


class Box:
    lock: Any = None
    locks: dict[str, asyncio.Lock]


box: Any = None


@pytest.fixture(autouse=True)
def _begin_anew() -> Iterator[None]:
    global lock, box
    box = Box()
    box.locks = {}
    yield
    lock = box = None
    locks.clear()


async def hold(gate: Any) -> None:
    async with gate:
        await asyncio.sleep(0)


def made() -> asyncio.Lock:
    return asyncio.Lock()


async def in_a_global() -> None:
    global lock
    lock = asyncio.Lock()
    early = asyncio.create_task(hold(lock))
    await asyncio.sleep(0)
    lock = asyncio.Lock()
    await hold(lock)
    await early


async def by_a_factory() -> None:
    global lock
    lock = made()
    early = asyncio.create_task(hold(lock))
    await asyncio.sleep(0)
    lock = made()
    await hold(lock)
    await early


async def use_of_box(renew: bool) -> None:
    if renew:
        box.lock = asyncio.Lock()
    await hold(box.lock)


class Renewing:
    def __init__(self) -> None:
        self.gate: asyncio.Lock | None = None

    async def work(self) -> None:
        self.gate = None
        self.gate = asyncio.Lock()
        await hold(self.gate)


async def in_an_attribute() -> None:
    worker = Renewing()
    await asyncio.gather(worker.work(), worker.work())


async def under_a_key(key: str = "a") -> None:
    locks[key] = asyncio.Lock()
    await hold(locks[key])


async def under_one_key() -> None:
    await asyncio.gather(under_a_key(), under_a_key())


async def waited_on_only() -> None:
    global lock
    lock = asyncio.Condition()

    async def wait(condition: asyncio.Condition) -> None:
        async with condition:
            await condition.wait()

    early = asyncio.create_task(wait(lock))
    await asyncio.sleep(0)
    lock = asyncio.Condition()
    async with lock:
        pass
    early.cancel()
    await asyncio.wait([early])


async def popped_and_made_anew() -> None:
    """Who comes while the first is inside finds no entry, and makes one."""

    async def work() -> None:
        gate = locks.setdefault("a", asyncio.Lock())
        async with gate:
            locks.pop("a", None)
            await asyncio.sleep(0)

    await asyncio.gather(work(), work())


BROKEN = (
    in_a_global,
    by_a_factory,
    in_an_attribute,
    under_one_key,
    waited_on_only,
    popped_and_made_anew,
)


async def a_local_one_of_the_same_factory() -> None:
    global lock
    once = made()
    async with once:
        lock = made()
        await hold(lock)


async def each_object_its_own() -> None:
    workers = [Renewing(), Renewing()]
    await asyncio.gather(*(worker.work() for worker in workers))


async def under_two_keys() -> None:
    await asyncio.gather(under_a_key("a"), under_a_key("b"))


async def after_it_was_released() -> None:
    global lock
    lock = asyncio.Lock()
    await hold(lock)
    lock = asyncio.Lock()
    await hold(lock)


async def one_for_each_call() -> None:
    async def call() -> None:
        own = asyncio.Lock()
        await hold(own)

    await asyncio.gather(call(), call(), call())


CORRECT = (
    a_local_one_of_the_same_factory,
    each_object_its_own,
    under_two_keys,
    after_it_was_released,
    one_for_each_call,
)


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: body.__name__)
def test_a_replaced_lock_is_found(body: Callable[[], Awaitable[None]]) -> None:
    report = pytest_loopsafe.run(body, loops=1, check=False)
    assert [(one.code, str(one.severity)) for one in report.findings] == [("LS208", "error")]


@pytest.mark.parametrize("body", CORRECT, ids=lambda body: body.__name__)
def test_a_lock_that_takes_nobodys_place_is_none(body: Callable[[], Awaitable[None]]) -> None:
    report = pytest_loopsafe.run(body, loops=2, check=False)
    assert report.findings == ()


def test_another_limit_for_later_calls_is_only_a_warning() -> None:
    class Calls:
        def __init__(self) -> None:
            self.set(1)

        def set(self, number: int) -> None:
            self.slots = asyncio.Semaphore(number)

        async def call(self, answered: asyncio.Event) -> None:
            async with self.slots:
                await answered.wait()

    async def body() -> None:
        calls, answered = Calls(), asyncio.Event()
        early = asyncio.create_task(calls.call(answered))
        await asyncio.sleep(0)
        calls.set(4)
        asyncio.get_running_loop().call_soon(answered.set)
        await asyncio.gather(early, calls.call(answered))

    report = pytest_loopsafe.run(body, loops=1)
    assert [(one.code, str(one.severity)) for one in report.findings] == [("LS208", "warning")]
