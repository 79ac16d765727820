"""A holder that is right: one instance for each loop, closed in that loop when it ends.

Importing this needs nothing but the standard library; the file may as well be copied.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary, ref

T = TypeVar("T")


class _Slot(Generic[T]):
    """One loop's instance; it refers to no loop, so that it can be a value beside its own key."""

    __slots__ = ("error", "instance", "lifetime", "ready")

    def __init__(self) -> None:
        self.ready: asyncio.Event | None = asyncio.Event()
        self.instance: T | None = None
        self.error: BaseException | None = None
        self.lifetime: AsyncGenerator[T, None] | None = None


class LoopLocal(Generic[T]):
    """One instance for each event loop, made at its first use and closed when the loop ends.

    ::

        redis = LoopLocal(lambda: Redis.from_url(URL), close=Redis.aclose)

        async def handler():
            client = await redis.get()

    Concurrent first uses share one instance: the first caller makes it, the others wait for it.
    It is closed by its own loop: ``asyncio.run()`` and ``asyncio.Runner`` close the asynchronous
    generators of their loop before they close the loop, and the instance lives in one. Whoever
    runs a loop by hand calls ``loop.run_until_complete(loop.shutdown_asyncgens())`` first, as
    asyncio asks, or awaits `aclose`.

    Safe with loops in several threads: each has an entry of its own, and nothing is shared.

    Args:
        make: makes an instance in the running loop; may be async.
        close: closes one in the same loop; may be async. None for what needs no closing, such as
            a lock.
    """

    def __init__(
        self,
        make: Callable[[], T | Awaitable[T]],
        close: Callable[[T], object | Awaitable[object]] | None = None,
    ) -> None:
        self._make = make
        self._close = close
        self._slots: WeakKeyDictionary[asyncio.AbstractEventLoop, _Slot[T]] = WeakKeyDictionary()

    async def get(self) -> T:
        """The running loop's instance.

        Raises:
            BaseException: what `make` raised; the next call tries again.
        """
        loop = asyncio.get_running_loop()
        while True:
            slot = self._slots.get(loop)
            if slot is None:
                return await self._build(loop)
            if slot.ready is None:
                return slot.instance  # type: ignore[return-value]
            await slot.ready.wait()
            if slot.error is not None and not isinstance(slot.error, asyncio.CancelledError):
                raise slot.error

    async def aclose(self) -> None:
        """Close the running loop's instance now; the next `get` makes another."""
        slot = self._slots.pop(asyncio.get_running_loop(), None)
        if slot is not None and slot.lifetime is not None:
            await slot.lifetime.aclose()

    async def _build(self, loop: asyncio.AbstractEventLoop) -> T:
        slot: _Slot[T] = _Slot()
        self._slots[loop] = slot
        ready = slot.ready
        lifetime = self._lifetime(ref(loop))
        try:
            instance = await anext(lifetime)
        except BaseException as error:
            slot.error = error
            if self._slots.get(loop) is slot:
                del self._slots[loop]
            raise
        else:
            slot.instance, slot.lifetime = instance, lifetime
            return instance
        finally:
            slot.ready = None  # an event that had a waiter is bound to its loop
            if ready is not None:
                ready.set()

    async def _lifetime(self, loop: ref[asyncio.AbstractEventLoop]) -> AsyncGenerator[T, None]:
        made = self._make()
        instance: T = await made if isinstance(made, Awaitable) else made
        try:
            yield instance
        finally:
            # First out of the mapping: what refers to its loop (a closed session, a lock that had
            # a waiter) would keep its own key alive there.
            ended = loop()
            if ended is not None:
                self._slots.pop(ended, None)
            closed = self._close(instance) if self._close is not None else None
            if isinstance(closed, Awaitable):
                await closed
