"""Passes in threads of their own, and the points at which they wait for one another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Rendezvous:
    """A point that nobody passes before all have come, or can come no more.

    No ``threading.Barrier``: an exception that is sent to a thread while it waits there leaves the
    count wrong, and the others wait for ever.

    Args:
        parties: how many threads are to come.
    """

    def __init__(self, parties: int) -> None:
        self._parties = parties
        self._here: dict[threading.Thread, None] = {}
        self._arrivals = threading.Semaphore(0)
        self._complete = threading.Event()

    @property
    def complete(self) -> bool:
        """Whether nobody is waited for any more."""
        return self._complete.is_set()

    def come(self) -> None:
        """Be counted, without waiting; once for each thread, however often it comes."""
        thread = threading.current_thread()
        if thread not in self._here:
            self._here[thread] = None
            self._arrivals.release()
        if len(self._here) >= self._parties:
            self._complete.set()

    def expect(self) -> None:
        """Wait until one more has come."""
        self._arrivals.acquire()

    def wait(self) -> None:
        """Be counted, and wait for the others."""
        self.come()
        self._complete.wait()

    def dissolve(self) -> None:
        """Let all pass: some will never come."""
        self._complete.set()


def in_threads(
    calls: Sequence[Callable[[], T]],
    *,
    points: Sequence[Rendezvous] = (),
    interrupted: Callable[[], None] = lambda: None,
) -> list[T]:
    """Make each call in a new thread, all at the same time, and wait for all of them.

    The threads are no daemons, and their context variables are a new thread's: the code runs as
    in any thread that production starts.

    Args:
        calls: what to call.
        points: where the calls wait for one another; nobody waits there for one that has ended.
            Each thread is started when the one before has come to the first: what they do until
            then is done in order.
        interrupted: called when this thread is interrupted while it waits (by Ctrl-C, by a
            timeout of somebody else's): it is to hasten the end of the calls.

    Returns:
        What the calls returned.

    Raises:
        BaseException: what one of them raised, or what interrupted this thread, when they have
            ended. Interrupted once more it waits no longer.
    """
    results: dict[int, T] = {}
    errors: list[BaseException] = []
    ended = [threading.Event() for _ in calls]

    def run(position: int) -> None:
        try:
            results[position] = calls[position]()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            errors.append(error)
        finally:
            for point in points:
                point.come()
            ended[position].set()

    threads = [threading.Thread(target=run, args=(position,)) for position in range(len(calls))]

    def wait() -> None:
        # First for the event: a join() that is interrupted takes the thread for ended, though it
        # runs on (CPython 3.11 and 3.12).
        for thread, event in zip(threads, ended, strict=True):
            if thread.ident is not None:  # it was started
                event.wait()
                thread.join()

    try:
        for thread in threads:
            thread.start()
            for point in points[:1]:
                point.expect()
        wait()
    except BaseException:
        for point in points:
            point.dissolve()
        interrupted()
        wait()
        raise
    if errors:
        raise errors[0]
    return [results[position] for position in range(len(calls))]
