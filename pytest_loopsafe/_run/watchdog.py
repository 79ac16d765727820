"""The end of a pass that does not end by itself.

Past its time it is first noted where the pass is, for later nobody can tell. Then it is ended,
by steps that grow harder: its tasks are cancelled, twice, for a task may swallow the first; the
loop is stopped; an exception is raised in the thread, which also ends a wait in sync code; and at
last, if even that is ignored, the process ends with a clear last word.

The clock is an alarm of our own (`pytest_loopsafe._run.alarm`), which rings again until the pass
has ended. A pass outside the main thread, and one on a system without such alarms, is timed by a
thread.
"""

from __future__ import annotations

import _thread
import asyncio
import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import _exit  # the real one: while a pass runs, os._exit is watched
from types import FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._run.alarm import alarm
from pytest_loopsafe._words.stacks import is_own

_MAX_STEPS = 12
_MOST_SPARED = 3
"""How often a ring in a line of ours has no effect: the code may block in one for its own sake."""

#: Seconds for what is done after a pass that was out of time, at least. Judging it is our own work,
#: and not to be cut short because the pass had little time: a search alone may take one second.
_TO_CLEAN_UP = 5.0

_MOMENT = 0.001


def grace(timeout: float) -> float:
    """Seconds between one step and the next, harder one."""
    return min(2.0, max(0.2, timeout / 10))


def patience(timeout: float) -> float:
    """Seconds from the beginning of a pass until the last step has been taken."""
    return timeout + (_MAX_STEPS + 1) * grace(timeout)


class PassAborted(BaseException):
    """Raised in a thread that neither cancellation nor stopping its loop could free."""


class Watchdog:
    """Watches the time of one pass after another, in the thread that runs them.

    Args:
        timeout: seconds for one pass.
        report: called once when the time is up, with the loop that the thread runs (or None)
            and the frame where the thread is. It is called in a signal handler, between any two
            lines of ours too, or from another thread: it notes what it sees, and takes no lock.
        last_word: called with a text before the process is ended.
    """

    def __init__(
        self,
        timeout: float,
        report: Callable[[asyncio.AbstractEventLoop | None, FrameType | None], None],
        last_word: Callable[[str], None],
    ) -> None:
        self._timeout = timeout
        self._grace = grace(timeout)
        self._report = report
        self._last_word = last_word
        self._ident = threading.get_ident()
        self._step = self._spared = 0
        self.expired = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Limit the time of the ``with`` block, which is one pass.

        Raises:
            PassAborted: in the block, or as it ends: never after it.
        """
        with self._limited(self._timeout):
            yield

    @contextmanager
    def cleaning_up(self) -> Iterator[None]:
        """Limit the time of what is done after a pass, where that was out of time.

        What swallowed its cancellation may swallow its end as well: a coroutine that is collected
        runs once more, with GeneratorExit, and can go round in circles with no loop to stop.
        """
        if not self.expired:
            yield
            return
        try:
            # Suppressed out here: it may be raised by the very end of the inner block.
            with suppress(PassAborted), self._limited(max(self._timeout, _TO_CLEAN_UP)):
                self._step = 1  # it has been reported
                yield
        finally:
            self.expired = True

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        self._step, self._spared, self.expired = 0, 0, False
        with self._by_alarm(seconds) as is_timed:
            if is_timed:
                yield
                return
        with self._by_thread(seconds):
            yield

    @contextmanager
    def _by_alarm(self, seconds: float) -> Iterator[bool]:
        over = busy = False

        def ring(number: int, frame: FrameType | None) -> None:
            nonlocal busy
            if over or busy:  # it rang as the block ended, or while a step is being taken
                return
            busy = True
            try:
                self._escalate(_cpython.get_running_loop(), frame, by_signal=True)
            finally:
                busy = False

        with alarm(ring) as clock:
            try:
                if clock is not None:
                    clock.set(seconds, self._grace)
                yield clock is not None
            finally:
                over = True  # at once, for the handler may run before each line to come

    @contextmanager
    def _by_thread(self, seconds: float) -> Iterator[None]:
        """The same outside the main thread, where no signal is handled.

        Plain flags, and a lock that is only ever released here. Rejected: ``with lock`` and an
        Event, which has one within. An exception that is sent to a thread may be raised, from 3.14
        on, after a lock is taken and before the ``with`` block that is to give it back.
        """
        done = sending = sent = False
        waking = _thread.allocate_lock()
        waking.acquire()

        def wait() -> None:
            nonlocal sending, sent
            delay = seconds
            while not waking.acquire(timeout=delay):
                frame = sys._current_frames().get(self._ident)
                loop = self._loop_of_thread()
                try:
                    sending = True  # and only then asked: whoever has set the other waits for it
                    if done:
                        return
                    sent = True
                    self._escalate(loop, frame, by_signal=False)
                finally:
                    sending = False
                delay = self._grace

        thread = threading.Thread(target=wait, name="loopsafe-watchdog", daemon=True)
        try:
            thread.start()
            yield
        finally:
            # What is sent is raised between any two lines, and so perhaps only here, or later,
            # where it would end something else. Once the flag has been seen no more is sent; what
            # has not been raised by then has one of ours in its place, which is raised here.
            # Rejected: to send NULL, which takes it back. CPython 3.11 goes on signalling it, and
            # then never comes out of a function that is entered under sys.settrace().
            at_rest = own = False
            while not at_rest:
                try:
                    done = True
                    while sending:
                        time.sleep(_MOMENT)
                    own = True
                    if sent:
                        _raise_in(self._ident, PassAborted)
                    while sent:
                        time.sleep(0)
                    at_rest = True
                except PassAborted:
                    at_rest = own
            waking.release()
            with suppress(RuntimeError):  # it was not even started
                thread.join(_TO_CLEAN_UP)

    def _loop_of_thread(self) -> asyncio.AbstractEventLoop | None:
        for loop in self.running_loops():
            if _cpython.loop_thread(loop) in (self._ident, None):
                return loop
        return None

    def running_loops(self) -> list[asyncio.AbstractEventLoop]:
        """The loops that run now, in whichever thread; the runner fills this in."""
        return []

    def _escalate(
        self, loop: asyncio.AbstractEventLoop | None, frame: FrameType | None, *, by_signal: bool
    ) -> None:
        self._step += 1
        if self._step == 1:
            self.expired = True
            self._report(loop, frame)
        if self._step > _MAX_STEPS:
            _thread.start_new_thread(_end_process, (_TO_CLEAN_UP,))
            try:
                self._last_word(
                    "pytest-loopsafe: the pass ignores cancellation, the stop of its loop and an "
                    "exception in its thread. The process ends here, with exit status 1."
                )
            finally:
                _exit(1)
        if loop is not None and self._step <= 2:
            _soon(loop, lambda: _cancel_all(loop))
        elif loop is not None and self._step <= 4:
            _soon(loop, loop.stop)
        elif self._spares(frame):
            return
        elif by_signal:
            raise PassAborted
        else:
            _raise_in(self._ident, PassAborted)

    def _spares(self, frame: FrameType | None) -> bool:
        """Whether the thread is in a line of ours, which it is to leave before it is ended.

        From CPython 3.14 on an exception that is sent to a thread may be raised after a lock has
        been taken, and before the ``with`` block that is to give it back: a hook of ours would keep
        its lock, and all that comes later would wait for it.
        """
        if frame is None or not is_own(frame.f_code.co_filename) or self._spared >= _MOST_SPARED:
            return False
        self._spared += 1
        return True


def _end_process(seconds: float) -> None:
    """End the process even if its last word gets stuck too."""
    time.sleep(seconds)
    _exit(1)


def _soon(loop: asyncio.AbstractEventLoop, action: Callable[[], Any]) -> None:
    with suppress(RuntimeError):  # closed in this very moment: then it has ended
        loop.call_soon_threadsafe(action)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in _cpython.all_tasks(loop):
        task.cancel("pytest-loopsafe: the pass used up its time")


def _raise_in(ident: int, error: type[BaseException]) -> None:
    """Raise `error` in a thread as soon as it runs Python code, in the place of an earlier one."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))
