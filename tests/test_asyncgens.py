"""An async generator that outlives its loop: one that a global still has is stale."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest_loopsafe


async def events() -> AsyncIterator[int]:
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(0)


stream: Any = None


async def first_of(iterator: Any) -> int | None:
    async for one in iterator:
        return int(one)
    return None


def test_a_global_has_one_that_its_loop_has_closed() -> None:
    global stream
    stream = events()

    async def body() -> int | None:
        return await first_of(stream)

    report = pytest_loopsafe.run(body, check=False)

    assert report.results == (0, None, None)
    (stale,) = report.errors
    assert stale.code == "LS201"
    assert stale.owner == f"{__name__}.stream"


def test_a_new_one_in_each_loop() -> None:
    async def body() -> int | None:
        global stream
        async with contextlib.aclosing(events()) as stream:
            return await first_of(stream)

    report = pytest_loopsafe.run(body)
    assert (report.results, report.findings) == ((0, 0, 0), ())


def test_one_that_is_left_and_replaced_is_only_left() -> None:
    async def body() -> int | None:
        global stream
        stream = events()
        return await first_of(stream)

    report = pytest_loopsafe.run(body)
    assert [finding.code for finding in report.findings] == ["LS302"]
