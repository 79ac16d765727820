"""An alarm clock of our own, which the code under test cannot take, clear or set by mistake.

A process has one interval timer and one ``SIGALRM``, and code uses both: timeout decorators, RQ's
death penalty, pytest-timeout. Whoever puts back the handler that was there cannot put back how much
time there was, so a limit of ours on that timer is lost without a word. Watching the functions of
`signal` for that moment was rejected: ``from signal import alarm`` and code in C go past it, and
the code under test would find functions replaced. A thread is seen by it
(``threading.active_count()``; from 3.12 on ``os.fork()`` warns of it), so that is for where there
is no such clock.

POSIX has as many timers as one likes, each with a signal to choose (``timer_create``). Python has
no function for it, the C library has. A child that is forked does not inherit them, and a program
that takes the place of this one does not either, as both do with an interval timer's signal.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_CLOCK_MONOTONIC = 1
_SIGEV_SIGNAL = 0

Handler = Callable[[int, FrameType | None], Any]


class _Event(ctypes.Structure):
    """``struct sigevent`` of Linux, padded to the 64 bytes that the kernel reads."""

    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 52),
    ]


class _Times(ctypes.Structure):
    """``struct itimerspec``: the interval, and the time until it rings first."""

    _fields_ = [
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    ]


class Alarm:
    """A timer that rings in the main thread, first after some seconds, then again and again."""

    def __init__(self, number: int) -> None:
        event = _Event(signo=number, notify=_SIGEV_SIGNAL)
        self._timer = ctypes.c_void_p()
        _call("timer_create", _CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer))

    def set(self, seconds: float, interval: float) -> None:
        """Ring after so many seconds, and then at this interval: a ring may be lost."""
        times = _Times(*_split(interval), *_split(max(seconds, 1e-6)))
        _call("timer_settime", self._timer, 0, ctypes.byref(times), None)

    def delete(self) -> None:
        """Ring no more."""
        _call("timer_delete", self._timer)


@contextmanager
def alarm(handler: Handler) -> Iterator[Alarm | None]:
    """An alarm for the length of a ``with`` block; None where this thread cannot have one.

    Args:
        handler: called for each ring, as a signal handler is.
    """
    number = _free_signal()
    timer = _made(number) if number is not None else None
    if number is None or timer is None:
        yield None
        return
    signal.signal(number, handler)
    try:
        yield timer
    finally:
        timer.delete()
        # To ignore a signal also takes back the one that is on its way, which by default would
        # end the process. What the code under test has made of it meanwhile stays.
        if signal.getsignal(number) is handler:
            signal.signal(number, signal.SIG_IGN)
            signal.signal(number, signal.SIG_DFL)


def _made(number: int) -> Alarm | None:
    try:
        return Alarm(number)
    except OSError:  # a sandbox that has no timers, or as many as are allowed
        return None


def _free_signal() -> int | None:
    """The last of the real-time signals that nobody uses: those who do, count from the first."""
    if sys.platform != "linux" or threading.get_ident() != threading.main_thread().ident:
        return None
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    for number in range(signal.SIGRTMAX, signal.SIGRTMIN, -1):
        if signal.getsignal(number) is signal.SIG_DFL and number not in blocked:
            return number
    return None


def _split(seconds: float) -> tuple[int, int]:
    whole = int(seconds)
    return whole, int((seconds - whole) * 1e9)


@functools.cache
def _function(name: str) -> Any:
    for library in (None, "librt.so.1"):  # before glibc 2.34 they are in a library of their own
        try:
            return getattr(ctypes.CDLL(library, use_errno=True), name)
        except (OSError, AttributeError):
            continue
    raise OSError(f"there is no {name}()")


def _call(name: str, *arguments: Any) -> None:
    if _function(name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
