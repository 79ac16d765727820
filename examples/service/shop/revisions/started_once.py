"""The outbox is started once for the process: it goes down with its loop, and the flag stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shop.outbox import send_notices
from shop.resources import Resources
from shop.revisions import safe


class Outbox:
    """Sends notices in the background."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None

    def start(self, resources: Resources) -> None:
        """Begin to send; once is enough."""
        if self.task is None:
            self.task = asyncio.create_task(send_notices(resources))


outbox = Outbox()


@asynccontextmanager
async def opened() -> AsyncIterator[Resources]:
    """As `safe` does it, but for the outbox."""
    async with safe.opened(with_outbox=False) as resources:
        outbox.start(resources)
        yield resources
