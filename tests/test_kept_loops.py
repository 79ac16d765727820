"""LS304 and LS206: what is kept once is in order, what each call adds to is not."""

import asyncio
import collections
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
