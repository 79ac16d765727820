"""Forks: what a child shares with its parent through the kernel, however much else it copies.

An epoll object is one for both: what the child unregisters, the parent no longer hears
(``selectors.EpollSelector``; a ``select()`` or ``poll()`` is given everything anew each time). The
handler that ``add_signal_handler()`` installs does nothing (``unix_events._sighandler_noop``): the
number goes through the wake-up descriptor, and until 3.12 a child inherits that, too.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import selectors
from asyncio import base_events, futures, tasks
from types import CodeType
from typing import Any

from pytest_loopsafe._cpython.topic import Absent, Topic, find

SIGNAL_HANDLER = find("unix_events", "_sighandler_noop", None)
"""What the system calls on a signal that a loop has a handler for."""

SELECTOR_BASE: Any = getattr(selectors, "_BaseSelectorImpl", Absent)
"""What every selector does to register or modify a file descriptor, it does here first."""

_SHARED: tuple[type, ...] = tuple(
    kind
    for name in ("EpollSelector", "DevpollSelector")
    if (kind := getattr(selectors, name, None))
)


def shared_selector(loop: Any) -> Any:
    """The selector of a loop, where a forked child has the very same; else None."""
    selector = getattr(loop, "_selector", None)
    return selector if issubclass(type(selector), _SHARED) else None


def handled_signals(loop: Any) -> frozenset[int]:
    """The signals that a loop has handlers for; none where it does not show them."""
    return frozenset(getattr(loop, "_signal_handlers", None) or ())


_SCHEDULE = ("call_soon", "call_soon_threadsafe", "call_later", "call_at", "create_task")
_GIVE_WORK = {
    base_events.__file__: _SCHEDULE,
    tasks.__file__: ("ensure_future", "_ensure_future", "__init__"),
    futures.__file__: ("set_result", "set_exception", "add_done_callback"),
}


def gives_work(code: CodeType) -> bool:
    """Whether a function of asyncio's schedules what its caller wants done, and does no more."""
    return code.co_name in _GIVE_WORK.get(code.co_filename, ())


def _names_in(function: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = inspect.unwrap(function).__code__.co_names
    return names


def _shows_what_is_shared() -> bool:
    if not hasattr(os, "fork"):
        return True
    base = find("selector_events", "BaseSelectorEventLoop")
    adds = _names_in(asyncio.SelectorEventLoop.add_signal_handler)
    is_seen = "_signal_handlers" in adds and "_sighandler_noop" in adds
    is_seen &= SIGNAL_HANDLER is not None and "_selector" in _names_in(base.__init__)
    schedules = [inspect.unwrap(getattr(asyncio.BaseEventLoop, one)) for one in _SCHEDULE]
    is_seen &= all(gives_work(one.__code__) for one in schedules)
    return is_seen and "register" in vars(SELECTOR_BASE)


TOPICS = (
    Topic("what a forked child shares with its parent", ("LS401", "LS402"), _shows_what_is_shared),
)
