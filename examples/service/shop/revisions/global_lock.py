"""One lock for the process: two orders at once are enough to bind it to their loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from shop.resources import Resources
from shop.revisions import safe

stock = asyncio.Lock()


@asynccontextmanager
async def opened() -> AsyncIterator[Resources]:
    """As `safe` does it, but for the lock of the stock."""
    async with safe.opened() as resources:
        yield replace(resources, stock=stock)
