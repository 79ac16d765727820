"""Thread pools, as a loop uses them: whether one can still do anything, and who follows a job.

A ``ThreadPoolExecutor`` keeps its threads in ``_threads``, refuses work once ``_shutdown`` is set,
and makes no thread where it believes that one of its own is idle. A forked child inherits the
belief and none of the threads (``concurrent/futures/thread.py``). A ``concurrent.futures.Future``
keeps who wants to hear of it in ``_done_callbacks`` (``concurrent/futures/_base.py``).
"""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

from pytest_loopsafe._cpython.topic import Topic


def is_shut(pool: Any) -> bool:
    """Whether a thread pool takes no more work."""
    return bool(getattr(pool, "_shutdown", False))


def is_deserted(pool: Any) -> bool:
    """Whether a thread pool has threads, and none of them is there: so it is after a fork."""
    threads = [one for one in tuple(getattr(pool, "_threads", ())) if type(one) is threading.Thread]
    return bool(threads) and not any(map(threading.Thread.is_alive, threads))


def followers(future: concurrent.futures.Future[Any]) -> tuple[Any, ...]:
    """What is called once a future is done."""
    return tuple(getattr(future, "_done_callbacks", ()))


class _TrialPool(concurrent.futures.ThreadPoolExecutor):
    """Begins no thread: what it is given stays where it is."""

    def _adjust_thread_count(self) -> None:
        self._threads.add(threading.Thread(target=print))  # type: ignore[attr-defined]


def _tells_state() -> bool:
    pool = _TrialPool(1)
    seen = not is_deserted(pool) and not is_shut(pool)
    pool.submit(print)
    seen &= is_deserted(pool)
    vars(pool)["_threads"].clear()  # a thread that never began cannot be waited for
    pool.shutdown(wait=False)
    return seen and is_shut(pool)


def _lists_followers() -> bool:
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    nobody = followers(future) == ()
    future.add_done_callback(bool)
    seen = followers(future) == (bool,)
    future.set_result(None)
    return nobody and seen


TOPICS = (
    Topic("what a thread pool can still do", ("LS201", "LS401"), _tells_state),
    Topic("who follows what was handed over", ("LS307",), _lists_followers),
)
