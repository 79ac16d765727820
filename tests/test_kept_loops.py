"""LS304 and LS206: what is kept once is in order, what each call adds to is not."""

import asyncio
import collections
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

import pytest_loopsafe

kept: dict[str, Any] = {"tasks": [], "some": collections.deque(maxlen=9)}
kept.update({"by loop": {}, "loops": set()})


def one_for_each() -> None:
    kept.setdefault("all", []).append(asyncio.new_event_loop())


async def by_loop() -> None:
    kept["by loop"][asyncio.get_running_loop()] = object()


async def every_loop() -> None:
    kept["loops"].add(asyncio.get_running_loop())


async def every_task() -> None:
    kept["tasks"].append(asyncio.current_task())


async def last_tasks() -> None:
    kept["some"].append(asyncio.current_task())


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (one_for_each, {"LS304"}),
        (by_loop, {"LS206"}),
        (every_loop, {"LS206"}),
        (every_task, {"LS206"}),
        (last_tasks, set()),
    ],
)
def test_what_each_call_adds_to(call: Callable[[], Any], found: set[str]) -> None:
    report = pytest_loopsafe.run(call, check=False)
    for loop in kept.pop("all", ()):
        loop.close()
    assert {finding.code for finding in report.findings} == found


@functools.lru_cache(maxsize=3)
def for_loop(loop: asyncio.AbstractEventLoop) -> asyncio.Lock:
    return asyncio.Lock()


async def in_a_cache_with_a_limit() -> None:
    for_loop(asyncio.get_running_loop())


async def the_newest_three() -> None:
    latest[asyncio.get_running_loop()] = object()
    while len(latest) > 3:
        latest.pop(next(iter(latest)))


async def every_one_from_the_third_on() -> None:
    calls.append(None)
    if len(calls) > 2:
        latest[asyncio.get_running_loop()] = object()


latest: dict[Any, Any] = {}
calls: list[None] = []


@pytest.mark.parametrize(
    ("call", "loops", "found"),
    [
        (in_a_cache_with_a_limit, 4, set()),
        (in_a_cache_with_a_limit, 12, set()),
        (the_newest_three, 12, set()),
        (every_one_from_the_third_on, 12, {"LS206"}),
    ],
)
def test_what_lets_the_oldest_go_accumulates_nothing(
    call: Callable[[], Any], loops: int, found: set[str]
) -> None:
    for_loop.cache_clear()
    latest.clear()
    calls.clear()
    report = pytest_loopsafe.run(call, loops=loops, check=False)
    assert {finding.code for finding in report.findings} == found


def test_a_loop_that_another_thread_is_about_to_run_will_be_closed() -> None:
    made, go = threading.Event(), threading.Event()

    def make() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        made.set()
        go.wait()
        return loop

    def work() -> None:
        with asyncio.Runner(loop_factory=make) as runner:
            runner.run(asyncio.sleep(0))

    def call() -> None:
        if not thread.is_alive():
            thread.start()
        made.wait()

    thread = threading.Thread(target=work)
    try:
        assert pytest_loopsafe.run(call, check=False).findings == ()
    finally:
        go.set()
        thread.join()


def test_a_loop_of_a_thread_that_runs_another_is_left_open() -> None:
    """What it is in the middle of running is not the one that it has made by hand."""
    ready, go, made = threading.Event(), threading.Event(), list[asyncio.AbstractEventLoop]()

    async def serve() -> None:
        ready.set()
        await asyncio.to_thread(go.wait)

    def work() -> None:
        made.append(asyncio.new_event_loop())
        asyncio.run(serve())

    def call() -> None:
        if not made:
            thread.start()
        ready.wait()

    thread = threading.Thread(target=work)
    try:
        report = pytest_loopsafe.run(call, check=False)
        assert [finding.code for finding in report.findings] == ["LS304"]
    finally:
        go.set()
        thread.join()
        made[0].close()
