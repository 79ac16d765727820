"""Loops that are closed and still exist."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

from pytest_loopsafe._words.loops import LoopInfo, LoopRegistry


def last_of_threads(
    dead: Iterable[asyncio.AbstractEventLoop], loops: LoopRegistry, *, main: bool
) -> set[int]:
    """The numbers of each thread's last dead loop, if the thread goes on.

    What holds that one may look at it when it runs next. With a client for each thread, there are
    never more of them than threads.

    Args:
        dead: the dead loops, oldest first.
        loops: numbers them.
        main: whether the main thread's, and that of all threads that have ended, is wanted.
    """
    alive = {thread.name for thread in threading.enumerate()}
    alive.discard(threading.main_thread().name)
    last: dict[str, LoopInfo] = {}
    for loop in dead:
        info = loops.of(loop)
        last[info.thread if info.thread in alive else ""] = info
    if not main:
        last.pop("", None)
    return {info.number for info in last.values()}
