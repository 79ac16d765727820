"""asyncio's own primitives, queues, tasks and futures; anyio's wrap them."""

from __future__ import annotations

import asyncio
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._adapters.base import Adapter


class Gate(Adapter):
    """A lock or a semaphore: two tasks at once, so that one has to wait and it binds."""

    types = ("asyncio.locks.Lock", "asyncio.locks.Semaphore", "asyncio.locks.Condition")
    closers = ()

    async def probe(self, resource: Any) -> None:
        """Enter it from as many tasks as it takes for one to wait."""
        entrants = max(_cpython.free_permits(resource), 1) + 1

        async def enter() -> None:
            async with resource:
                await asyncio.sleep(0)

        await asyncio.gather(*(enter() for _ in range(entrants)))


class Flag(Adapter):
    """An event: wait for it, unless it is set for good."""

    types = ("asyncio.locks.Event",)
    closers = ()

    async def probe(self, resource: Any) -> None:
        """Let a task wait until its turn is over."""
        waiter = asyncio.ensure_future(resource.wait())
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        if not waiter.cancelled():
            waiter.result()


class Mailbox(Adapter):
    """A queue: put an item in and take one out, with a reader waiting."""

    types = ("asyncio.queues.Queue",)
    closers = ()

    async def probe(self, resource: Any) -> None:
        """A reader waits before anything is there, where the queue is empty."""
        reader = asyncio.ensure_future(resource.get())
        await asyncio.sleep(0)
        if not reader.done():
            resource.put_nowait(object())
        item = await reader
        del item


class Awaited(Adapter):
    """A future or a task."""

    types = ("_asyncio.Future", "_asyncio.Task", "asyncio.futures.Future")
    closers = ()

    async def probe(self, resource: Any) -> None:
        """Wait for it, without cancelling it."""
        await asyncio.wait_for(asyncio.shield(resource), timeout=1)
