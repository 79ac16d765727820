"""What the Celery tasks of all revisions share: the Celery app, and the job they do.

A Celery task is sync code. How it gets from there into `generate` is what the revisions differ in.
"""

from celery import Celery

from roadmap.graph import run_workflow
from roadmap.notifier import Notifier

celery_app = Celery("roadmap", broker="memory://", set_as_current=False)

STEPS = ("started", "outlined", "written")


async def generate(notifier: Notifier, roadmap_id: str, topic: str) -> list[str]:
    """The whole job: three notifications, `STEPS`, and the lessons as the result."""
    await notifier.publish(roadmap_id, "started")
    return await run_workflow(notifier, roadmap_id, topic)
