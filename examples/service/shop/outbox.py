"""Sends notices in the background, so that nobody who orders has to wait for it."""

from __future__ import annotations

from shop.resources import Resources


async def send_notices(resources: Resources) -> None:
    """Publish one notice after another, for as long as the application runs."""
    while True:
        notice = await resources.notices.get()
        await resources.redis.rpush("notices", notice)
        resources.notices.task_done()
