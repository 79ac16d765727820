"""Tells the browser how far a roadmap is: numbers each notification and publishes it in Redis.

A notification is a nicety, so one that cannot be sent is logged and never fails the task. That
is a fair decision, and it is also why no test noticed that some never arrived.
"""

import asyncio
import json
import logging

from redis.asyncio import Redis

from roadmap import settings

logger = logging.getLogger(__name__)


class Notifier:
    """Publishes progress through its Redis client."""

    def __init__(self, client: Redis | None) -> None:
        self.client = client

    async def publish(self, roadmap_id: str, step: str) -> None:
        """Send one notification, or log that it could not be sent."""
        try:
            await asyncio.wait_for(self._send(roadmap_id, step), settings.PUBLISH_TIMEOUT)
        except Exception:
            logger.exception("notification_publish_failed")

    async def _send(self, roadmap_id: str, step: str) -> None:
        assert self.client is not None, "there is no client yet"
        # The number lets the browser put the notifications in order.
        number = await self.client.incr(f"roadmap:{roadmap_id}:notifications")
        message = {"roadmap": roadmap_id, "number": number, "step": step}
        await self.client.publish(settings.CHANNEL, json.dumps(message))
