"""Transports: when they are made, whether they are open, and what drives them.

``_SelectorTransport.__init__`` makes those of sockets (``asyncio/selector_events.py``), and their
``_sock`` is None once they are closed; those of pipes have ``_pipe`` (``unix_events.py``). Windows'
own loop makes all of its with ``_ProactorBasePipeTransport.__init__``, and a pipe is a ``_sock``
there, too (``proactor_events.py``). TLS is a
transport on a protocol on a transport (``sslproto.py``). When a loop has died, ``close()`` leaves
``_sock`` as it is: that is how a connection that is still open is told from a closed one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

from pytest_loopsafe._cpython.topic import Absent, Topic, find
from pytest_loopsafe._cpython.trial import (
    Opens,
    datagrams,
    made,
    pipe_to_read,
    pipe_to_write,
    stream,
    tls,
    trial_loop,
    trial_proactor_loop,
)


def transport_loop(transport: Any) -> asyncio.AbstractEventLoop | None:
    """The loop that drives a transport."""
    loop: asyncio.AbstractEventLoop | None = getattr(transport, "_loop", None)
    return loop


_PIPES = (
    find("unix_events", "_UnixReadPipeTransport"),
    find("unix_events", "_UnixWritePipeTransport"),
)
"""None on Windows, whose transports are all in ``proactor_events``."""


def _has_proactor() -> bool:
    """Whether anything has loaded the proactor loop: on Windows asyncio has, elsewhere a test."""
    return "asyncio.proactor_events" in sys.modules


def _of_proactor(*names: str) -> list[Any]:
    return [find("proactor_events", name) for name in names] if _has_proactor() else []


def transport_classes() -> list[type]:
    """Asyncio's own classes of transports that hold a socket or a pipe."""
    found = (
        find("selector_events", "_SelectorTransport"),
        *_PIPES,
        *_of_proactor("_ProactorBasePipeTransport"),
    )
    return [cls for cls in found if cls is not Absent]


def transport_writers() -> list[tuple[type, str]]:
    """The methods by which asyncio's own transports send data, as (class, name)."""
    classes = (
        find("selector_events", "_SelectorSocketTransport"),
        find("selector_events", "_SelectorDatagramTransport"),
        find("sslproto", "_SSLProtocolTransport"),
        *_PIPES,
        *_of_proactor("_ProactorBaseWritePipeTransport", "_ProactorDatagramTransport"),
    )
    return [
        (cls, name)
        for cls in classes
        for name in ("write", "writelines", "sendto")
        if name in vars(cls)
    ]


def descriptor_of(transport: Any) -> Any:
    """The socket or pipe that a transport of asyncio's has still; None once it has closed it."""
    found = getattr(transport, "_sock", None)
    return found if found is not None else getattr(transport, "_pipe", None)


def holds_open(transport: Any, attributes: Callable[[Any], dict[str, Any]]) -> bool:
    """Whether a transport still has its socket or pipe: once its loop died, close() keeps it.

    Args:
        transport: one of asyncio's, or derived from one.
        attributes: reads an object's own attributes without running code of its class.
    """
    own = attributes(transport)
    inner = own.get("_ssl_protocol")
    if inner is not None:  # TLS: what counts is the connection below
        transport = attributes(inner).get("_transport")
        if transport is None:
            return False
        own = attributes(transport)
    for name in ("_sock", "_pipe"):
        if name in own:
            held = own[name]
            return held is not None and held.fileno() != -1
    return not transport.is_closing()


def transport_of(thing: Any, attributes: Callable[[Any], dict[str, Any]]) -> Any:
    """The transport that a process, a stream or a protocol of asyncio's stands before, if any."""
    return attributes(thing).get("_transport")


_CLOSES = frozenset({"close", "abort", "_force_close", "_abort"})


def closes_transport(file: str, function: str) -> bool:
    """Whether a function of asyncio's, by its qualified name, is one that closes a transport."""
    return (
        os.path.basename(file).endswith(("_events.py", "sslproto.py"))
        and function.rpartition(".")[2] in _CLOSES
        and "Loop." not in function
    )


# -- the canaries ------------------------------------------------------------------------------


Make = Callable[[Any], Any]


def _is_made_in_sight(make: Make, opens: Opens) -> bool:
    with made(make, opens) as (transport, _):
        kinds = [cls for cls in transport_classes() if isinstance(transport, cls)]
        return len(kinds) == 1 and "__init__" in vars(kinds[0])


def _is_driven_in_sight(make: Make, opens: Opens) -> bool:
    with made(make, opens) as (transport, _):
        name = "sendto" if hasattr(transport, "sendto") else "write"
        owner = next(cls for cls in type(transport).__mro__ if name in vars(cls))
        return (owner, name) in transport_writers()


def _tells_loop(make: Make, opens: Opens) -> bool:
    with made(make, opens) as (transport, loop):
        return transport_loop(transport) is loop


def _tells_open(make: Make, opens: Opens) -> bool:
    """What is being closed has its socket or pipe until the loop has turned."""
    with made(make, opens) as (transport, _):
        is_tls = transport.get_extra_info("sslcontext") is not None
        transport.close()
        held = holds_open(transport, vars) and (is_tls or descriptor_of(transport) is not None)
        held &= transport.is_closing()
    return held and not holds_open(transport, vars) and descriptor_of(transport) is None


def _knows_closing(make: Make, opens: Opens) -> bool:
    """What is between abort() and the loop is known by name, through all layers."""
    with opens() as loop:
        transport = make(loop)
        schedule = loop.call_soon
        here, seen = sys._getframe().f_code, []

        def call_soon(*args: Any, **kwargs: Any) -> Any:
            frame = sys._getframe(1)
            while frame.f_code is not here and frame.f_back is not None:
                seen.append((frame.f_code.co_filename, frame.f_code.co_qualname))
                frame = frame.f_back
            return schedule(*args, **kwargs)

        loop.call_soon = call_soon
        transport.abort()
        loop.call_soon = schedule
        loop.turn()
        # From 3.15 on a transport schedules in a context of its own, by a method of its own.
        layers = [one for one in seen if not one[1].endswith("._call_soon")]
        return len(layers) > 1 and all(closes_transport(*one) for one in layers)


_MADE = ("LS202", "LS203", "LS303")
_OPEN = ("LS201", *_MADE)
_DRIVEN = ("LS103", "LS104", "LS105", "LS402")

OF_CONNECTIONS = tuple(sorted({*_OPEN, *_DRIVEN}))
"""The rules that have to see connections."""

_PLAIN = (stream, datagrams, pipe_to_read, pipe_to_write)
_TLS = (tls,) if find("sslproto", "ssl", None) is not None else ()
_SENDING = tuple(make for make in (*_PLAIN, *_TLS) if make is not pipe_to_read)


def _trials() -> list[tuple[Opens, tuple[Make, ...]]]:
    """The loops that there are to try things on, and what they cannot make."""
    has_pipes = find("unix_events", "SelectorEventLoop") is not Absent
    found = [(trial_loop, () if has_pipes else (pipe_to_read, pipe_to_write))]
    return [*found, *([(trial_proactor_loop, ())] if _has_proactor() else [])]


def _each(check: Callable[[Make, Opens], bool], *kinds: Make) -> Callable[[], bool]:
    return lambda: all(
        check(make, opens) for opens, lacking in _trials() for make in kinds if make not in lacking
    )


TOPICS = (
    Topic("when a connection is made", _MADE, _each(_is_made_in_sight, *_PLAIN)),
    Topic(
        "which loop a connection belongs to",
        OF_CONNECTIONS,
        _each(_tells_loop, *_PLAIN, *_TLS),
    ),
    Topic("what is sent through a connection", _DRIVEN, _each(_is_driven_in_sight, *_SENDING)),
    Topic("whether a connection is open", _OPEN, _each(_tells_open, *_PLAIN)),
    Topic("whether a TLS connection is open", _OPEN, _each(_tells_open, *_TLS)),
    Topic(
        "how a connection is closed",
        ("LS401", "LS402"),
        _each(_knows_closing, *(_TLS or (stream,))),
    ),
)
