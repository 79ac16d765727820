"""One engine for the process: its pool keeps connections of loops that are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from sqlalchemy.ext.asyncio import create_async_engine

from shop import settings
from shop.resources import Resources
from shop.revisions import safe

engine = create_async_engine(settings.database_url())


@asynccontextmanager
async def opened() -> AsyncIterator[Resources]:
    """As `safe` does it, but for the engine."""
    async with safe.opened() as resources:
        yield replace(resources, engine=engine)
