"""A pool of threads that goes down with a loop (LS201), or that a fork leaves behind (LS401)."""

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import pytest_loopsafe

Body = Callable[[], Any]
Make = Callable[["Kept"], Body]


class Kept:
    """What a module would hold."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(2)
        self.cell: Any = None
        self.pid = os.getpid()


@pytest.fixture
def kept() -> Iterator[Kept]:
    kept = Kept()
    yield kept
    kept.pool.shutdown()


def number() -> int:
    return 7


# -- a pool that is a loop's default executor -----------------------------------------------------


def made_default_again(kept: Kept) -> Body:
    async def handle() -> int:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(kept.pool)
        return await loop.run_in_executor(None, number)

    return lambda: asyncio.run(handle())


def refusal_kept_quiet(kept: Kept) -> Body:
    async def handle() -> None:
        loop = asyncio.get_running_loop()
        if kept.cell is None:
            kept.cell = True
            loop.set_default_executor(kept.pool)
        with contextlib.suppress(RuntimeError):
            await loop.run_in_executor(kept.pool, number)

    return lambda: asyncio.run(handle())


def used_outside_of_loops(kept: Kept) -> Body:
    async def handle() -> None:
        asyncio.get_running_loop().set_default_executor(kept.pool)
        await asyncio.to_thread(number)

    def body() -> None:
        if kept.cell is None:
            kept.cell = True
            asyncio.run(handle())
        try:
            kept.pool.submit(number)
        except RuntimeError:
            pass

    return body


def closed_by_hand(kept: Kept) -> Body:
    async def handle() -> None:
        await asyncio.get_running_loop().run_in_executor(kept.pool, number)

    def body() -> None:
        loop = asyncio.new_event_loop()
        try:
            if kept.cell is None:
                kept.cell = True
                loop.set_default_executor(kept.pool)
            loop.run_until_complete(handle())
        finally:
            loop.close()

    return body


def installed_and_not_used(kept: Kept) -> Body:
    async def handle() -> None:
        asyncio.get_running_loop().set_default_executor(kept.pool)

    return lambda: asyncio.run(handle())


BROKEN: tuple[Make, ...] = (
    made_default_again,
    refusal_kept_quiet,
    used_outside_of_loops,
    closed_by_hand,
    installed_and_not_used,
)


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads"])
@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_pool_that_went_down_with_a_loop(make: Make, schedule: str, kept: Kept) -> None:
    report = pytest_loopsafe.run(make(kept), check=False, schedule=schedule)
    found = [one for one in report.findings if one.code == "LS201"]
    assert found, str(report)
    for one in found:
        assert one.home_loop is not None
        assert one.home_loop.number == 1
        assert one.owner is not None
        assert one.owner.endswith(".pool")
    swallowed = {one.swallowed for one in found}
    assert (make in (refusal_kept_quiet, used_outside_of_loops)) == (True in swallowed)


def test_nor_does_uvloop_leave_it_alone(kept: Kept) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def handle() -> int:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(kept.pool)
        return await loop.run_in_executor(None, number)

    report = pytest_loopsafe.run(handle, check=False, loop_factory=uvloop.new_event_loop)
    assert "LS201" in {one.code for one in report.findings}, str(report)


class Lasting(ThreadPoolExecutor):
    """Whose owner alone ends it."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Loops may ask for it."""


def passed_explicitly(kept: Kept) -> Body:
    async def handle() -> None:
        await asyncio.get_running_loop().run_in_executor(kept.pool, number)

    return lambda: asyncio.run(handle())


def made_for_each_run(kept: Kept) -> Body:
    async def handle() -> None:
        kept.pool = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(kept.pool)
        await asyncio.to_thread(number)

    return lambda: asyncio.run(handle())


def one_for_each_loop(kept: Kept) -> Body:
    async def handle() -> None:
        with ThreadPoolExecutor(1) as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            await asyncio.to_thread(number)

    return lambda: asyncio.run(handle())


def that_loops_cannot_end(kept: Kept) -> Body:
    kept.cell = Lasting(1)

    async def handle() -> None:
        asyncio.get_running_loop().set_default_executor(kept.cell)
        await asyncio.to_thread(number)

    def body() -> None:
        asyncio.run(handle())

    return body


def made_anew_where_it_is_shut(kept: Kept) -> Body:
    async def handle() -> None:
        if kept.cell is not None:
            kept.pool = ThreadPoolExecutor(1)
        kept.cell = True
        asyncio.get_running_loop().set_default_executor(kept.pool)
        await asyncio.to_thread(number)

    return lambda: asyncio.run(handle())


def ended_by_its_owner(kept: Kept) -> Body:
    """What the code shut down itself is no loop's doing."""

    async def handle() -> None:
        pool = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(pool)
        pool.shutdown()
        kept.cell = pool

    def body() -> None:
        asyncio.run(handle())
        with contextlib.suppress(RuntimeError):
            kept.cell.submit(number)

    return body


def of_a_kept_loop(kept: Kept) -> Body:
    async def handle() -> None:
        await asyncio.to_thread(number)

    def body() -> None:
        loop = asyncio.new_event_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        loop.run_until_complete(handle())
        loop.run_until_complete(handle())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    return body


SAFE: tuple[Make, ...] = (
    passed_explicitly,
    made_for_each_run,
    one_for_each_loop,
    that_loops_cannot_end,
    made_anew_where_it_is_shut,
    ended_by_its_owner,
    of_a_kept_loop,
)


@pytest.mark.parametrize("make", SAFE, ids=lambda make: make.__name__)
def test_a_pool_that_outlives_its_loops_in_order(make: Make, kept: Kept) -> None:
    report = pytest_loopsafe.run(make(kept), check=False, loops=4)
    assert [(one.code, one.message) for one in report.findings] == []
    assert [one.error for one in report.passes if one.error is not None] == []
    if isinstance(kept.cell, Lasting):
        ThreadPoolExecutor.shutdown(kept.cell)


# -- a pool that was forked ----------------------------------------------------------------------


def in_child(work: Callable[[], None]) -> Body:
    def body() -> None:
        pid = os.fork()
        if not pid:
            try:
                work()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    return body


def give_work(pool: Any) -> None:
    pool.submit(number)


def run_in_executor(pool: Any) -> None:
    async def handle() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(pool, number), 0.01)

    asyncio.run(handle())


def idle(pool: Any) -> None:
    pool.submit(number).result()


def busy(pool: Any) -> None:
    begun, gate = threading.Event(), threading.Event()
    pool.submit(lambda: (begun.set(), gate.wait(1)))
    begun.wait()


forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def applied(marks: list[Any]) -> Callable[[Any], Any]:
    return lambda test: functools.reduce(lambda marked, mark: mark(marked), marks, test)


@applied(forks)
@pytest.mark.parametrize("used", [give_work, run_in_executor])
@pytest.mark.parametrize(("threads", "before"), [(1, idle), (4, idle), (1, busy)])
def test_a_pool_whose_threads_stayed_behind(used: Any, threads: int, before: Any) -> None:
    with ThreadPoolExecutor(threads) as pool:
        before(pool)
        report = pytest_loopsafe.run(in_child(lambda: used(pool)), loops=1, check=False)
        found = [one for one in report.findings if one.code == "LS401"]
        assert len(found) == 1, str(report)
        assert found[0].is_error


def unused_before(kept: Kept) -> None:
    kept.pool.submit(number).result()


def made_anew(kept: Kept) -> None:
    if kept.pid != os.getpid():
        kept.pool = ThreadPoolExecutor(1)
    kept.pool.submit(number).result()


def room_for_more(kept: Kept) -> None:
    """The one thread was at work, so the pool makes another, which is the child's own."""
    kept.cell.submit(number).result()


def for_processes(kept: Kept) -> None:
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        pool.submit(number).result()


@applied(forks)
@pytest.mark.parametrize("used", [unused_before, made_anew, room_for_more, for_processes])
def test_a_pool_that_works_in_the_child(used: Any, kept: Kept) -> None:
    if used is made_anew:
        idle(kept.pool)
    with ThreadPoolExecutor(2) as kept.cell:
        busy(kept.cell)
        report = pytest_loopsafe.run(in_child(lambda: used(kept)), loops=1, check=False)
    assert [(one.code, one.message) for one in report.findings] == []
