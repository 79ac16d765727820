"""Factories of loops that are not asyncio's plain ones: eager, in debug mode, compiled."""

import asyncio

import pytest


def eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def debug_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    return loop


def python_task_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(
        lambda loop, coro, **options: asyncio.tasks._PyTask(coro, loop=loop, **options)
    )
    return loop


def uv_loop() -> asyncio.AbstractEventLoop:
    return pytest.importorskip("uvloop").new_event_loop()
