"""Queues: how items leave one.

``get`` takes its item by ``get_nowait`` (``asyncio/queues.py``), in the task that awaits it.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

from pytest_loopsafe._cpython.primitives import has_method_of, is_internal
from pytest_loopsafe._cpython.topic import Topic


def is_taken_from_as_ever(queue: Any) -> bool:
    """Whether nothing leaves a queue but by the ``get_nowait`` of asyncio."""
    return all(has_method_of(asyncio.Queue, name, queue) for name in ("get", "get_nowait"))


def _takes_by_get_nowait() -> bool:
    found: list[bool] = []

    class Told(asyncio.Queue[int]):
        def get_nowait(self) -> int:
            found.append(is_internal(sys._getframe(1)))
            return super().get_nowait()

    queue = Told()
    queue.put_nowait(1)
    with suppress(StopIteration):
        queue.get().send(None)
    return found == [True]


TOPICS = (Topic("how items are taken out of a queue", ("LS107",), _takes_by_get_nowait),)
