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


MOST = 5
latest: dict[Any, Any] = {}
calls: list[None] = []
oldest_first: collections.OrderedDict[Any, Any] = collections.OrderedDict()
all_in_order: collections.OrderedDict[Any, Any] = collections.OrderedDict()


class Recent:
    """The last few jobs, for who looks."""

    def __init__(self) -> None:
        self.most = 8
        self.begin()

    def begin(self) -> None:
        self.by_number: dict[int, Any] = {}
        self.listed: list[Any] = []
        self.alone: list[Any] = []
        self.all: list[Any] = []
        self.others: dict[int, Any] = {}

    async def add(self) -> None:
        self.by_number[len(calls)] = asyncio.current_task()
        calls.append(None)
        while len(self.by_number) > self.most:
            del self.by_number[next(iter(self.by_number))]

    async def append(self) -> None:
        if MOST <= len(self.listed):
            self.listed.pop(0)
        self.listed.append(asyncio.current_task())

    async def append_past_it(self) -> None:
        self.listed.append(asyncio.current_task())

    async def append_alone(self) -> None:
        self.alone.append(asyncio.current_task())

    def never_called(self) -> None:
        if len(self.alone) > MOST:
            self.alone.clear()

    async def when_it_is_short(self) -> None:
        self.all.append(asyncio.current_task())
        if len(self.all) < 1 or len(self.all) <= 0:
            self.all.clear()

    async def of_another(self) -> None:
        self.all.append(asyncio.current_task())
        self.others[1] = 1
        if len(self.others) > MOST:
            self.others.popitem()


recent = Recent()


async def the_last_five() -> None:
    loop = asyncio.get_running_loop()
    if loop not in oldest_first:
        oldest_first[loop] = object()
        if len(oldest_first) > MOST:
            oldest_first.popitem(last=False)
    oldest_first.move_to_end(loop)


async def all_of_which_it_looks_at_the_first() -> None:
    all_in_order[asyncio.get_running_loop()] = object()
    if len(all_in_order) > MOST:
        all_in_order.move_to_end(next(iter(all_in_order)))


def of_recent(name: str) -> Callable[[], Any]:
    """Not the method itself: what a test keeps for itself is its own business."""

    async def call() -> None:
        await getattr(recent, name)()

    return call


@pytest.mark.parametrize(
    ("call", "loops", "found"),
    [
        (in_a_cache_with_a_limit, 4, set()),
        (in_a_cache_with_a_limit, 12, set()),
        (the_newest_three, 12, set()),
        (every_one_from_the_third_on, 12, {"LS206"}),
        (the_last_five, 4, set()),
        (the_last_five, 8, set()),
        (of_recent("add"), 4, set()),
        (of_recent("append"), 4, set()),
        (all_of_which_it_looks_at_the_first, 4, {"LS206"}),
        (of_recent("append_past_it"), 8, {"LS206"}),
        (of_recent("append_alone"), 4, {"LS206"}),
        (of_recent("when_it_is_short"), 4, {"LS206"}),
        (of_recent("of_another"), 4, {"LS206"}),
    ],
)
def test_what_lets_the_oldest_go_accumulates_nothing(
    call: Callable[[], Any], loops: int, found: set[str]
) -> None:
    for_loop.cache_clear()
    latest.clear()
    calls.clear()
    oldest_first.clear()
    all_in_order.clear()
    recent.begin()
    report = pytest_loopsafe.run(call, loops=loops, check=False)
    assert {finding.code for finding in report.findings} == found


@pytest.mark.parametrize("waits", [False, True])
def test_what_lived_at_the_same_time_was_added_at_once(waits: bool) -> None:
    """Whether another round would leave more, one round does not tell."""

    def call() -> None:
        met = threading.Barrier(3)

        async def main() -> None:
            if not waits:
                met.wait()
            kept["by loop"][asyncio.get_running_loop()] = object()

        threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
            if waits:
                thread.join()
        for thread in threads:
            thread.join()

    kept["by loop"].clear()
    with pytest_loopsafe.watch() as report:
        call()
    assert {one.code for one in report.findings} == ({"LS206"} if waits else set())
    with pytest_loopsafe.watch() as report:
        call()
        call()
    assert {one.code for one in report.findings} == {"LS206"}
    kept["by loop"].clear()


@pytest.mark.parametrize(("schedule", "found"), [("concurrent", set()), ("threads", {"LS206"})])
def test_one_round_of_loops_at_once_leaves_no_more_and_more(schedule: Any, found: set[str]) -> None:
    report = pytest_loopsafe.run(by_loop, loops=4, schedule=schedule, check=False)
    kept["by loop"].clear()
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
