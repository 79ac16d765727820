"""Safe: one client for each loop, made at its first use and closed when that loop ends.

Nothing is remembered from one loop to the next, so there is nothing to compare. The first task
that asks in a new loop makes the client, and those that ask meanwhile wait for the same one. It is
closed by the loop that it belongs to. `LoopLocal` is a short class: it may as well be copied.
"""

import asyncio

from redis.asyncio import Redis

from pytest_loopsafe.recipes import LoopLocal
from roadmap import settings
from roadmap.notifier import Notifier
from roadmap.tasks import celery_app, generate

clients = LoopLocal(lambda: Redis.from_url(settings.redis_url()), close=Redis.aclose)


async def connect_and_generate(roadmap_id: str, topic: str) -> list[str]:
    """The task in async code: take this loop's client and do the job."""
    return await generate(Notifier(await clients.get()), roadmap_id, topic)


@celery_app.task
def generate_roadmap(roadmap_id: str, topic: str) -> list[str]:
    """Make a roadmap in a loop of its own."""
    return asyncio.run(connect_and_generate(roadmap_id, topic))
