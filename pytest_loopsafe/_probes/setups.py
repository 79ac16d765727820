"""Seeing what code sets up on a loop, and so loses with it: handlers, readers, an executor.

What asyncio and libraries set up for themselves is theirs to do again: of readers, writers and
signal handlers only those are told that the user's own code asked for by itself. Whoever sets what
a loop has one of (its task factory), through whatever library, has changed the loop for all.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._words.stacks import is_library


@dataclass(frozen=True)
class SetUp(Sighting):
    """Something was set up on a loop, or the loop refused.

    Attributes:
        loop: the loop.
        what: its name in a report, "exception handler".
        place: which one of its kind, for comparison: a signal's number, a file descriptor; None
            where a loop has but one.
        thing: the handler, factory or executor.
        refused: whether the loop refused.
        before: what handled a signal in the process before.
    """

    loop: asyncio.AbstractEventLoop
    what: str
    place: object
    thing: Any
    refused: bool = False
    before: Any = None


@dataclass(frozen=True)
class SetUpRead(Sighting):
    """A loop was asked what it has, of what a loop has but one, and has this."""

    loop: asyncio.AbstractEventLoop
    what: str
    thing: Any


@dataclass(frozen=True)
class TakenDown(Sighting):
    """The code asked a loop to do without something, whether it was set up or not."""

    loop: asyncio.AbstractEventLoop
    what: str
    place: object


class SetupProbe:
    """Sees the methods by which a loop is set up, of every kind of loop."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook them."""

        def build_setter(what: str) -> Callable[[Any], Any]:
            def build(original: Callable[..., Any]) -> Callable[..., Any]:
                def setter(self: Any, *args: Any, **kwargs: Any) -> Any:
                    __tracebackhide__ = True
                    result = original(self, *args, **kwargs)
                    (thing,) = (*args, *kwargs.values())
                    if thing is None:
                        emit(TakenDown(self, what, None))
                    else:
                        emit(SetUp(self, what, None, thing))
                    return result

                return setter

            return build

        def build_getter(what: str) -> Callable[[Any], Any]:
            def build(original: Callable[..., Any]) -> Callable[..., Any]:
                def getter(self: Any) -> Any:
                    __tracebackhide__ = True
                    thing = original(self)
                    if thing is not None:
                        emit(SetUpRead(self, what, thing))
                    return thing

                return getter

            return build

        def build_add(what: str) -> Callable[[Any], Any]:
            handles_signals = what == "signal handler"

            def build(original: Callable[..., Any]) -> Callable[..., Any]:
                def add(self: Any, *args: Any, **kwargs: Any) -> Any:
                    __tracebackhide__ = True
                    refused, given = True, (*args, *kwargs.values())[:2]
                    place = _place(given[0]) if given else None
                    before = process_handler(place) if handles_signals else None
                    try:
                        result = original(self, *args, **kwargs)
                        refused = False
                        return result
                    finally:
                        if len(given) == 2 and not is_library(sys._getframe(1).f_code.co_filename):
                            emit(SetUp(self, what, place, given[1], refused, before))

                return add

            return build

        def build_remove(what: str) -> Callable[[Any], Any]:
            def build(original: Callable[..., Any]) -> Callable[..., Any]:
                def remove(self: Any, *args: Any, **kwargs: Any) -> Any:
                    __tracebackhide__ = True
                    given = (*args, *kwargs.values())
                    if given and not is_library(sys._getframe(1).f_code.co_filename):
                        emit(TakenDown(self, what, _place(given[0])))
                    return original(self, *args, **kwargs)

                return remove

            return build

        for method, what in _ONE_EACH.items():
            patches.on_loop_classes(f"set_{method}", build_setter(what), inherited=True)
            patches.on_loop_classes(f"get_{method}", build_getter(what), inherited=True)
        for kind, what in _BY_PLACE.items():
            patches.on_loop_classes(f"add_{kind}", build_add(what), inherited=True)
            patches.on_loop_classes(f"remove_{kind}", build_remove(what), inherited=True)


_ONE_EACH = {
    "task_factory": "task factory",
    "exception_handler": "exception handler",
    "default_executor": "default executor",
}
_BY_PLACE = {"signal_handler": "signal handler", "reader": "reader", "writer": "writer"}


SIGNALS = frozenset(map(int, signal.valid_signals()))
_getsignal: Any = getattr(sys.modules.get("_signal"), "getsignal", None)
"""That of ``signal`` asks what it gives whether it is a number, and so an object of the user's."""


def process_handler(number: object) -> Any:
    """What handles a signal in this process: a number where that is the default, or nothing."""
    if _getsignal is None or type(number) is not int or number not in SIGNALS:
        return None
    return _getsignal(number)


def _place(given: Any) -> object:
    """A signal's number or a file descriptor, without asking an object of the user's own for it."""
    kind = type(given)
    if issubclass(kind, int):
        return int.__index__(given)
    if issubclass(kind, socket.socket):
        return socket.SocketType.fileno(given)
    return "object", id(given)
