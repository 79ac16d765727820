"""Layer 1: one asyncio.run() per task, so that each task has a clean loop.

The loop is new each time and the global client is not: the first command of each further task
meets a connection that belongs to the loop of the task before.
"""

import asyncio

from redis.asyncio import Redis

from roadmap import settings
from roadmap.notifier import Notifier
from roadmap.tasks import celery_app, generate

notifier = Notifier(Redis.from_url(settings.redis_url()))


@celery_app.task
def generate_roadmap(roadmap_id: str, topic: str) -> list[str]:
    """Make a roadmap in a loop of its own."""
    return asyncio.run(generate(notifier, roadmap_id, topic))
