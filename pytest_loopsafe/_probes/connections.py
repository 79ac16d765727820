"""Seeing connections: each transport and server when it is made, and those dropped while open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._probes.slots import Making
from pytest_loopsafe._words.finalizers import in_finalizer
from pytest_loopsafe._words.stacks import live_frames


@dataclass(frozen=True)
class ConnectionMade(Making):
    """A transport or a server has just been made."""

    thing: Any
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class ConnectionDropped(Sighting):
    """A transport is being collected, and its socket or pipe was never closed."""

    thing: Any


WRITES = ("write", "writelines", "sendto")
"""The methods by which a transport sends."""


@dataclass(frozen=True)
class ConnectionDriven(Sighting):
    """A transport or stream of `loop` was used where that loop does not run.

    `running` is the loop that runs there, None in sync code; `method` is one of `WRITES`, or
    ``read``.
    """

    thing: Any
    loop: asyncio.AbstractEventLoop
    running: asyncio.AbstractEventLoop | None
    method: str


@dataclass(frozen=True)
class ConnectionFinalized(Sighting):
    """A finalizer closed a transport that nobody had closed."""

    thing: Any
    loop: asyncio.AbstractEventLoop


class ConnectionProbe:
    """Sees asyncio's own transports and servers. uvloop's are compiled: it closes them itself."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook constructors and finalizers."""

        def build_init(original: Callable[..., Any]) -> Callable[..., Any]:
            def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
                original(self, *args, **kwargs)
                loop = _cpython.transport_loop(self)
                if loop is not None:
                    emit(ConnectionMade(self, loop))

            return __init__

        def build_del(original: Callable[..., Any]) -> Callable[..., Any]:
            def __del__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
                if _cpython.descriptor_of(self) is not None:
                    emit(ConnectionDropped(self))
                return original(self, *args, **kwargs)

            return __del__

        def build_close(original: Callable[..., Any]) -> Callable[..., Any]:
            def close(self: Any) -> Any:
                if not self.is_closing() and in_finalizer(live_frames()):
                    loop = _cpython.transport_loop(self)
                    if loop is not None:
                        emit(ConnectionFinalized(self, loop))
                return original(self)

            return close

        def build_driven(original: Callable[..., Any]) -> Callable[..., Any]:
            name = original.__name__ if original.__name__ in WRITES else "read"
            running = _cpython.get_running_loop

            def driven(self: Any, *args: Any, **kwargs: Any) -> Any:
                loop = _cpython.transport_loop(self)
                if loop is not None and loop is not running():
                    emit(ConnectionDriven(self, loop, running(), name))
                return original(self, *args, **kwargs)

            return driven

        for owner, name in (*_cpython.transport_writers(), _cpython.STREAM_READ):
            patches.replace(owner, name, build_driven)

        for cls in (*_cpython.transport_classes(), _cpython.Server):
            patches.replace(cls, "__init__", build_init)
            if "__del__" in vars(cls):
                patches.replace(cls, "__del__", build_del)
            if issubclass(cls, asyncio.BaseTransport):
                patches.replace(cls, "close", build_close)
