"""Everything is opened with the application, in its loop, and closed with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import httpx
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from shop import settings
from shop.outbox import send_notices
from shop.resources import Resources


@asynccontextmanager
async def opened(*, with_outbox: bool = True) -> AsyncIterator[Resources]:
    """Open in this loop, close in this loop."""
    async with AsyncExitStack() as stack:
        engine = create_async_engine(settings.database_url())
        stack.push_async_callback(engine.dispose)
        redis = Redis.from_url(settings.redis_url(), decode_responses=True)
        stack.push_async_callback(redis.aclose)
        payments = httpx.AsyncClient(base_url=settings.payments_url())
        await stack.enter_async_context(payments)
        resources = Resources(engine, redis, payments, asyncio.Lock(), asyncio.Queue())
        if with_outbox:
            await stack.enter_async_context(_sending(resources))
        yield resources


@asynccontextmanager
async def _sending(resources: Resources) -> AsyncIterator[None]:
    """Send notices in the background, and to the last one."""
    outbox = asyncio.create_task(send_notices(resources))
    try:
        yield
        await resources.notices.join()
    finally:
        outbox.cancel()
        with suppress(asyncio.CancelledError):
            await outbox
