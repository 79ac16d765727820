"""One HTTP client for the process: it keeps connections alive beyond their loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx

from shop import settings
from shop.resources import Resources
from shop.revisions import safe

payments = httpx.AsyncClient(base_url=settings.payments_url())


@asynccontextmanager
async def opened() -> AsyncIterator[Resources]:
    """As `safe` does it, but for the client of the payment provider."""
    async with safe.opened() as resources:
        yield replace(resources, payments=payments)
