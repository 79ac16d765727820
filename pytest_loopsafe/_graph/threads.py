"""What threads hold: their local variables, their ``threading.local`` data."""

from __future__ import annotations

import gc
import sys
import threading
import time
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from pytest_loopsafe._graph import links
from pytest_loopsafe._graph.kinds import instances_of, is_plain_local
from pytest_loopsafe._words.stacks import local_variables


@dataclass(frozen=True)
class ThreadClocks:
    """How long each other thread had run when they were read, where that can be told.

    A thread whose clock stands still has run nothing, and so made nothing: an executor's that
    waits for work, say, which many programs never end. The main thread is left out, for it waits
    for the passes that run in others.

    Attributes:
        run: nanoseconds of CPU by thread; None where the system cannot tell.
    """

    run: dict[threading.Thread, int | None] = field(default_factory=dict)

    @classmethod
    def read(cls) -> ThreadClocks:
        """Read the clocks of all threads that are alive."""
        waiting = (threading.current_thread(), threading.main_thread())
        others = [one for one in threading.enumerate() if one not in waiting]
        return cls({one: _nanoseconds(one) for one in others})

    def is_as(self, before: ThreadClocks) -> bool:
        """Whether none of these threads has run since; False where that cannot be told."""
        return all(
            clock is not None and before.run.get(thread) == clock
            for thread, clock in self.run.items()
        )


def _nanoseconds(thread: threading.Thread) -> int | None:
    """How much CPU a thread has used; None where that cannot be told.

    Linux makes the number of a thread's clock from the thread's own (``CPUCLOCK_PERTHREAD`` and
    ``CPUCLOCK_SCHED``, ``include/linux/posix-timers.h``; glibc's ``pthread_getcpuclockid`` does the
    same) and refuses one that is gone. `time.pthread_getcpuclockid` may crash for such a thread.
    """
    if sys.platform != "linux" or thread.native_id is None:
        return None
    try:
        return time.clock_gettime_ns(~thread.native_id << 3 | 6)
    except OSError:
        return None


def threads_within(file: str) -> set[str]:
    """The names of the other threads that a function of this file runs in."""
    frames = sys._current_frames()
    # This function's own frame would hold itself, and with its callers' all that they have in
    # variables, until the next collection.
    frames.pop(threading.get_ident(), None)
    found = set()
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        while frame is not None and frame.f_code.co_filename != file:
            frame = frame.f_back
        if frame is not None:
            found.add(thread.name)
    return found


def thread_locals(wanted: dict[int, int]) -> list[tuple[Any, int]]:
    """The ``threading.local`` objects that own one of the wanted dictionaries in this thread.

    Only those whose dictionary can be read without running code. It reads the whole heap, so it
    is asked only for dictionaries that nothing else holds.

    Args:
        wanted: indexes of nodes, by the ``id()`` of the dictionary.
    """
    return [
        (one, wanted[id(links.own_dict(one))])
        for one in instances_of(threading.local, gc.get_objects())
        if is_plain_local(type(one)) and id(links.own_dict(one)) in wanted
    ]


def held_by_threads(node: Any, passing: tuple[str, ...]) -> list[tuple[str, FrameType, str]]:
    """Where other threads' running functions hold an object in a local variable.

    No generator, and this thread's own frame is left out: it would hold itself, and through its
    variables the object, until the next collection.

    Args:
        node: the object.
        passing: packages whose functions hold things for the test's sake only.
    """
    found: list[tuple[str, FrameType, str]] = []
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    frames.pop(threading.get_ident(), None)
    for ident, frame in frames.items():
        current: FrameType | None = frame
        while current is not None:
            if current.f_globals.get("__name__", "").partition(".")[0] in passing:
                break
            found += [
                (names.get(ident, str(ident)), current, variable)
                for variable, value in local_variables(current).items()
                if value is node
            ]
            current = current.f_back
    return found


def by_thread_name(path: str) -> str:
    """Threads are found under their number in ``threading._active``: say which thread it is."""
    prefix = "threading._active["
    if not path.startswith(prefix):
        return path
    number, _, rest = path[len(prefix) :].partition("]")
    names = {str(thread.ident): thread.name for thread in threading.enumerate()}
    return f"<thread {names.get(number, number)!r}>{rest}"
