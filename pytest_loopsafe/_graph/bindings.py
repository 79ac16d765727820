"""What is bound to a loop, and does it matter: a transport that is open, a future that is pending.

Much refers to a loop and is harmless: a future that is done, a closed session, a variable in which
somebody remembers the loop. Only what would fail, hang or leak when it is used from another loop
counts as *live*.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType, FunctionType, ModuleType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph import links
from pytest_loopsafe._graph.kinds import is_a, is_future, module_of
from pytest_loopsafe._words.stacks import is_library, is_stdlib, module_file

_MAX_NODES = 20_000
_MAX_PARTS = 2_000

Closed = Callable[[Any], bool | None]
"""Tells whether a library's object is closed; None where it cannot tell."""


@dataclass(frozen=True)
class Binding:
    """One object that is bound to a loop. For the moment only: it refers to both.

    Attributes:
        thing: the object.
        loop: the loop.
        live: whether it would matter to another loop that uses it.
    """

    thing: Any
    loop: asyncio.AbstractEventLoop
    live: bool


def binding_of(thing: Any, closed: Closed = lambda thing: None) -> Binding | None:
    """What an object is itself bound to; None where that is nothing, or not of its own."""
    kind = type(thing)
    if is_future(thing):
        loop = _cpython.future_loop(thing)
        return Binding(thing, loop, not thing.done()) if loop is not None else None
    if is_a(thing, _cpython.LoopBoundMixin):
        # One that nobody holds or waits for may never be used again; if it is, that is seen.
        loop = _cpython.bound_loop(thing)
        return Binding(thing, loop, _cpython.is_awaited(thing)) if loop is not None else None
    if is_transport(kind):
        loop = _loop_of(thing)
        return Binding(thing, loop, is_open(thing)) if loop is not None else None
    if is_a(thing, asyncio.TimerHandle):
        loop = _cpython.timer_loop(thing)
        return Binding(thing, loop, _cpython.is_due(thing)) if loop is not None else None
    if is_server(kind):
        loop = _loop_of(thing)
        live = bool(getattr(thing, "sockets", ()))
        return Binding(thing, loop, live) if loop is not None else None
    file = module_file(module_of(kind))
    if is_library(file) and not is_stdlib(file):
        for value in links.attributes(thing).values():
            if is_a(value, asyncio.AbstractEventLoop):
                return Binding(thing, value, _is_live(thing, value, closed))
    return None


def _is_live(thing: Any, loop: asyncio.AbstractEventLoop, closed: Closed) -> bool:
    """Whether a library's object that refers to a loop has anything of it that matters.

    Its adapter says so, or something in it does: an open connection, a pending future. An
    application that has been cleaned up, a server that has stopped, still have the loop itself.
    """
    answer = closed(thing)
    if answer is not None:
        return not answer
    attributes = links.attributes(thing)
    if any(attributes.get(name) is True for name in ("_closed", "closed", "_is_closed")):
        return False
    if any(is_a(one, asyncio.Task) and one.cancelled() for one in attributes.values()):
        return True  # its own task went down with the loop, and it goes on as if it had it
    pending, seen = deque([thing]), {id(thing)}
    while pending and len(seen) < _MAX_PARTS:
        for held in _insides(pending.popleft()):
            if id(held) in seen or is_a(held, _NOT_ENTERED):
                continue
            seen.add(id(held))
            pending.append(held)
            part = binding_of(held, closed) if speaks_for_itself(held) else None
            if part is not None and part.live and part.loop is loop:
                return True
    return False


def is_idle_primitive(binding: Binding) -> bool:
    """Whether it is a primitive that nobody holds or waits for: by itself it matters to nobody."""
    return not binding.live and is_a(binding.thing, _cpython.LoopBoundMixin)


def speaks_for_itself(thing: Any) -> bool:
    """Whether what a thing is says that it is open or pending, and not only an attribute of it."""
    return (
        is_future(thing)
        or is_transport(type(thing))
        or is_server(type(thing))
        or is_a(thing, (_cpython.LoopBoundMixin, asyncio.TimerHandle))
    )


def is_server(kind: type) -> bool:
    """Whether a class is one of servers: asyncio's, or a compiled one such as uvloop's."""
    return issubclass(kind, asyncio.AbstractServer) or (
        module_of(kind).partition(".")[0] == "uvloop" and hasattr(kind, "start_serving")
    )


def is_transport(kind: type) -> bool:
    """Whether a class is one of transports: asyncio's, or a compiled one such as uvloop's."""
    return issubclass(kind, asyncio.BaseTransport) or (
        module_of(kind).partition(".")[0] == "uvloop"
        and hasattr(kind, "get_extra_info")
        and hasattr(kind, "is_closing")
    )


def is_open(transport: Any) -> bool:
    """Whether a transport still has its socket or pipe: once its loop died, close() keeps it."""
    if not is_a(transport, asyncio.BaseTransport):
        return not transport.is_closing()
    return _cpython.holds_open(transport, links.attributes)


def is_over(thing: Any) -> bool:
    """Whether it is a process, stream or protocol of asyncio's own whose transport is closed."""
    if not is_stdlib(module_file(module_of(type(thing)))):
        return False
    transport = _cpython.transport_of(thing, links.attributes)
    return transport is not None and is_transport(type(transport)) and not is_open(transport)


def is_left(thing: Any) -> bool:
    """Whether a transport or server is open, and nobody is closing it."""
    sockets = getattr(thing, "sockets", None)
    if sockets is not None:  # a server
        return bool(sockets)
    if not is_open(thing):
        return False
    if not thing.is_closing():
        return True
    loop = _cpython.transport_loop(thing)  # else it is being closed
    return loop is not None and loop.is_closed()  # and then that can no longer happen


def unsent(thing: Any) -> int:
    """How many bytes a transport has still to send, that somebody is closing."""
    if not is_a(thing, asyncio.WriteTransport) or not thing.is_closing() or not is_open(thing):
        return 0
    return int(thing.get_write_buffer_size())


def _loop_of(thing: Any) -> asyncio.AbstractEventLoop | None:
    loop = _cpython.transport_loop(thing)
    if loop is not None:
        return loop
    loops = (one for one in gc.get_referents(thing) if is_a(one, asyncio.AbstractEventLoop))
    return next(loops, None)


def bound_to(
    loop: asyncio.AbstractEventLoop,
    referrers: Callable[[Any], list[Any]],
    closed: Closed = lambda thing: None,
) -> list[Binding]:
    """All that is bound to a loop, as far as those are known who refer to an object."""
    found: dict[int, Any] = {}
    for referrer in referrers(loop):
        if type(referrer) is dict:
            for holder in referrers(referrer):
                if links.own_dict(holder) is referrer:
                    found[id(holder)] = holder
        elif not is_a(referrer, FrameType):
            found[id(referrer)] = referrer
    bindings = (binding_of(thing, closed) for thing in found.values())
    return [one for one in bindings if one is not None and one.loop is loop]


def bindings_within(
    resource: Any, closed: Closed = lambda thing: None
) -> Iterator[tuple[Binding, tuple[Any, ...]]]:
    """All live bindings inside a resource, each with the objects on the way to it.

    Modules, classes, functions' globals and the loops themselves are not entered: they belong to
    everybody.
    """
    pending: deque[tuple[Any, tuple[Any, ...]]] = deque([(resource, (resource,))])
    seen = {id(resource)}
    while pending and len(seen) < _MAX_NODES:
        thing, chain = pending.popleft()
        binding = binding_of(thing, closed)
        if binding is not None:
            if binding.live:
                yield binding, chain
            if is_future(thing):
                continue
        for held in _insides(thing):
            if id(held) not in seen and not is_a(held, _NOT_ENTERED):
                seen.add(id(held))
                pending.append((held, (*chain, held)))


_NOT_ENTERED = (ModuleType, type, FrameType, asyncio.AbstractEventLoop)


def _insides(thing: Any) -> list[Any]:
    if is_a(thing, FunctionType):
        return [*(thing.__closure__ or ()), thing.__defaults__, thing.__kwdefaults__]
    return gc.get_referents(thing)
