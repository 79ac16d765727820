"""How a report calls things, without calling anybody's ``repr``."""

from __future__ import annotations

import asyncio
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._words.loops import LoopInfo


def name_loop(info: LoopInfo | None, state: str | None = None) -> str:
    """``loop 1 (closed)``; ``no loop`` for sync code."""
    if info is None:
        return "no running loop"
    return f"{info} ({_STATES.get(state, state)})" if state else str(info)


_STATES = {"paused": "open, but not running"}


def name_future(future: Any) -> str:
    """``task 'Task-3' of worker()`` or ``a Future``, without calling anybody's ``repr``."""
    if isinstance(future, asyncio.Task):
        return f"task {future.get_name()!r} of {name_coroutine(future)}"
    if _cpython.is_gathering(future):
        return "the future of a gather()"
    return a(type(future).__name__)


def name_coroutine(task: Any) -> str:
    """The qualified name of what a task runs."""
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", None) or type(coroutine).__name__
    return f"{name}()"


def name_primitive(primitive: Any) -> str:
    """``Lock``, ``BoundedSemaphore``: the class the user wrote."""
    return type(primitive).__qualname__


def a(name: str) -> str:
    """``a Lock``, ``an Event``."""
    return f"a{'n' if name[:1] in 'AEIOUaeio' else ''} {name}"


def name_thing(thing: Any) -> str:
    """``redis.asyncio.connection.Connection``; futures and primitives by what they are."""
    if asyncio.isfuture(thing):
        return name_future(thing)
    kind = type(thing)
    if kind.__module__.partition(".")[0] == "asyncio":
        name = kind.__qualname__
        if isinstance(thing, asyncio.BaseTransport):
            peer = thing.get_extra_info("peername") or thing.get_extra_info("sockname")
            return f"an open transport{f' to {_address(peer)}' if peer else ''} ({name})"
        return a(name)
    return (
        f"{'an' if kind.__module__[:1] in 'aeiou' else 'a'} {kind.__module__}.{kind.__qualname__}"
    )


def _address(peer: Any) -> str:
    return ":".join(str(part) for part in peer[:2]) if isinstance(peer, tuple) else str(peer)
