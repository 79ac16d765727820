"""LS203: a loop in a thread of its own that two threads made at once, for one place."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pytest_loopsafe


class Background:
    """A loop that a thread of its own runs."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def call(self) -> None:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Holder:
    """The place."""

    def __init__(self) -> None:
        self.background: Background | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.all: list[Background] = []
        self.lock = threading.Lock()
        self.both = threading.Barrier(2)


@pytest.fixture
def holder() -> Iterator[Holder]:
    before = set(threading.enumerate())
    yield Holder()
    loops = [one for one in gc.get_objects() if isinstance(one, asyncio.BaseEventLoop)]
    running = [loop for loop in loops if loop.is_running()]
    for loop in running:
        loop.call_soon_threadsafe(loop.stop)
    for thread in set(threading.enumerate()) - before:
        thread.join()
    for loop in running:
        loop.close()


def unguarded(holder: Holder) -> None:
    if holder.background is None:
        holder.both.wait()  # as slow as a thread's start may be
        holder.background = Background()
    holder.background.call()


def made_by_a_helper(holder: Holder) -> None:
    def get() -> Background:
        if not holder.background:
            holder.both.wait()
            holder.background = Background()
        return holder.background

    get().call()


def under_a_lock(holder: Holder) -> None:
    with holder.lock:
        if holder.background is None:
            holder.background = Background()
    holder.background.call()


def one_for_each_thread(holder: Holder) -> None:
    background = Background()
    holder.all.append(background)
    background.call()


def the_loser_is_stopped(holder: Holder) -> None:
    if holder.background is None:
        holder.both.wait()
        mine = Background()
        with holder.lock:
            if holder.background is None:
                holder.background = mine
        if holder.background is not mine:
            mine.stop()
    holder.background.call()


def of_its_own_run(holder: Holder) -> None:
    """A thread's own ``asyncio.run()``, beside one that is kept."""
    asyncio.run(asyncio.sleep(0))
    under_a_lock(holder)


def in_two_threads(first_use: Callable[[Holder], None], holder: Holder) -> Callable[[], None]:
    def body() -> None:
        if holder.background is not None:
            holder.background.call()
            return
        threads = [threading.Thread(target=first_use, args=(holder,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return body


def found(body: Callable[[], None]) -> list[Any]:
    report = pytest_loopsafe.run(body, check=False, ignore=["LS304"])
    return list(report.findings)


@pytest.mark.parametrize("first_use", [unguarded, made_by_a_helper])
def test_one_of_two_is_lost(first_use: Callable[[Holder], None], holder: Holder) -> None:
    [finding] = found(in_two_threads(first_use, holder))
    assert finding.code == "LS203"
    assert finding.owner.endswith(".background.loop")


@pytest.mark.parametrize(
    "first_use", [under_a_lock, one_for_each_thread, the_loser_is_stopped, of_its_own_run]
)
def test_what_is_in_order(first_use: Callable[[Holder], None], holder: Holder) -> None:
    assert found(in_two_threads(first_use, holder)) == []


def test_one_that_was_replaced_after_it_had_been_stopped(holder: Holder) -> None:
    def body() -> None:
        if holder.background is not None:
            holder.background.stop()
        holder.background = None
        under_a_lock(holder)

    assert found(body) == []


def test_a_loop_that_nobody_holds_and_nobody_runs(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was left open, and that is all (LS304): a library may still have it."""
    kept: list[Any] = []
    monkeypatch.setattr(threading, "_kept_by_a_library", kept, raising=False)

    def first_use(holder: Holder) -> None:
        if holder.loop is None:
            holder.both.wait()
            holder.loop = asyncio.new_event_loop()
            threading._kept_by_a_library.append(holder.loop)  # type: ignore[attr-defined]

    del kept
    body = in_two_threads(first_use, holder)
    report = pytest_loopsafe.run(lambda: holder.loop or body())
    for loop in threading._kept_by_a_library:  # type: ignore[attr-defined]
        loop.close()
    assert {one.code for one in report.findings} <= {"LS304"}
