"""One Redis client for the process: its pool keeps connections of loops that are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from redis.asyncio import Redis

from shop import settings
from shop.resources import Resources
from shop.revisions import safe

redis = Redis.from_url(settings.redis_url(), decode_responses=True)


@asynccontextmanager
async def opened() -> AsyncIterator[Resources]:
    """As `safe` does it, but for the Redis client."""
    async with safe.opened() as resources:
        yield replace(resources, redis=redis)
