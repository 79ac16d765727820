"""LS304 and LS206: what is kept once is in order, what each call adds to is not."""

import asyncio
import collections
import concurrent.futures
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pytest_loopsafe

threads = concurrent.futures.ThreadPoolExecutor(2)
together = threading.Barrier(2)
own = threading.local()
kept: dict[str, Any] = {"all": [], "tasks": [], "some": collections.deque(maxlen=9)}
kept.update({"by loop": {}, "loops": set()})


def one_for_all() -> None:
    if "one" not in kept:
        kept["one"] = asyncio.new_event_loop()
    kept["one"].run_until_complete(asyncio.sleep(0))


def one_for_each_thread() -> None:
    def call(_: int) -> None:
        if not hasattr(own, "loop"):
            own.loop = asyncio.new_event_loop()
            kept["all"].append(weakref.ref(own.loop))
        together.wait()
        own.loop.run_until_complete(asyncio.sleep(0))

    list(threads.map(call, range(2)))


def one_for_each() -> None:
    kept["all"].append(asyncio.new_event_loop())


async def by_loop() -> None:
    kept["by loop"][asyncio.get_running_loop()] = object()


async def every_loop() -> None:
    kept["loops"].add(asyncio.get_running_loop())


async def every_task() -> None:
    kept["tasks"].append(asyncio.current_task())


async def last_tasks() -> None:
    kept["some"].append(asyncio.current_task())


def made() -> Iterator[Any]:
    """The loops that have to be closed."""
    for one in [*kept["all"], kept.pop("one", None)]:
        loop = one() if isinstance(one, weakref.ref) else one
        if loop is not None:
            yield loop
    kept["all"] = []


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (one_for_all, set()),
        (one_for_each_thread, set()),
        (one_for_each, {"LS304"}),
        (by_loop, {"LS206"}),
        (every_loop, {"LS206"}),
        (every_task, {"LS206"}),
        (last_tasks, set()),
    ],
)
def test_what_each_call_adds_to(call: Callable[[], Any], found: set[str]) -> None:
    report = pytest_loopsafe.run(call, check=False)
    for loop in made():
        loop.close()
    assert {finding.code for finding in report.findings} == found
