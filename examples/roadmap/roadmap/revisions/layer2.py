"""Layer 2: the global client remembers its loop, and is rebuilt in a new one.

This is the fix that is passed around, and it has three faults of its own, numbered below.
"""

import asyncio

from redis.asyncio import Redis

from roadmap import settings
from roadmap.notifier import Notifier
from roadmap.tasks import celery_app, generate


class LoopAwareNotifier(Notifier):
    """A notifier that gives itself a new client in each loop, or means to."""

    def __init__(self) -> None:
        super().__init__(None)
        self._loop_id: int | None = None

    async def connect(self) -> None:
        """Make sure that the client is one of this loop."""
        # Fault 1: a later loop often has the id of an earlier, dead one.
        loop_id = id(asyncio.get_running_loop())
        if loop_id != self._loop_id:
            self._loop_id = loop_id
            if self.client is not None:
                # Fault 2: the connection belongs to the old loop, which is closed, and only
                # that loop could close it. This raises "Event loop is closed".
                await self.client.aclose()
                self.client = None
        if self.client is None:
            # Fault 3: while one task waits here, another finds no client and makes one too.
            # One of the two is lost, with its connection open.
            client = Redis.from_url(settings.redis_url())
            await client.ping()
            self.client = client


notifier = LoopAwareNotifier()


async def connect_and_generate(roadmap_id: str, topic: str) -> list[str]:
    """The task in async code: make sure of the client, then do the job."""
    await notifier.connect()
    return await generate(notifier, roadmap_id, topic)


@celery_app.task
def generate_roadmap(roadmap_id: str, topic: str) -> list[str]:
    """Make a roadmap in a loop of its own."""
    return asyncio.run(connect_and_generate(roadmap_id, topic))
