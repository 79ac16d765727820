"""Safe: no client outlives its loop, because each task opens its own and closes it.

Nothing is remembered from one loop to the next, so there is nothing to compare, to rebuild or
to race for. It is also the shortest of the four.
"""

import asyncio

from redis.asyncio import Redis

from roadmap import settings
from roadmap.notifier import Notifier
from roadmap.tasks import celery_app, generate


async def connect_and_generate(roadmap_id: str, topic: str) -> list[str]:
    """The task in async code: open a client, do the job, close it in the loop it belongs to."""
    async with Redis.from_url(settings.redis_url()) as client:
        return await generate(Notifier(client), roadmap_id, topic)


@celery_app.task
def generate_roadmap(roadmap_id: str, topic: str) -> list[str]:
    """Make a roadmap in a loop of its own."""
    return asyncio.run(connect_and_generate(roadmap_id, topic))
