"""Where Redis and the checkpoints are, as the environment says when asked."""

import os
from pathlib import Path

CHANNEL = "roadmap-progress"
PUBLISH_TIMEOUT = 5.0


def redis_url() -> str:
    """The Redis that carries the notifications."""
    return os.environ["ROADMAP_REDIS_URL"]


def checkpoint_path(roadmap_id: str) -> str:
    """The SQLite file in which LangGraph keeps the state of one workflow."""
    return str(Path(os.environ["ROADMAP_CHECKPOINTS"]) / f"{roadmap_id}.sqlite")
