"""Before: one loop for the life of the worker, and a second one for a single line.

The task publishes "started" in a loop of its own, then works in the worker's loop. Both use the
one global client, whose connection belongs to whichever loop happened to open it.
"""

import asyncio

from redis.asyncio import Redis

from roadmap import settings
from roadmap.graph import run_workflow
from roadmap.notifier import Notifier
from roadmap.tasks import celery_app

notifier = Notifier(Redis.from_url(settings.redis_url()))

_worker_loop: asyncio.AbstractEventLoop | None = None


def worker_loop() -> asyncio.AbstractEventLoop:
    """The worker's loop, made when first asked for: the parent must not hand it to a fork."""
    global _worker_loop
    if _worker_loop is None:
        _worker_loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_worker_loop)
    return _worker_loop


@celery_app.task
def generate_roadmap(roadmap_id: str, topic: str) -> list[str]:
    """Make a roadmap, in two loops."""
    asyncio.run(notifier.publish(roadmap_id, "started"))
    return worker_loop().run_until_complete(run_workflow(notifier, roadmap_id, topic))
