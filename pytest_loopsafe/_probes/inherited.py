"""Seeing, in a forked child, what the kernel shares with its parent, when the child touches it.

All of it is hooked in the child alone: the selectors of the loops that came along, the handlers
that these loops have for signals, and sockets where a connection came along. Each is told before
it is done: the child may never come back from it.
"""

from __future__ import annotations

import asyncio
import selectors
import signal
import socket
import sys
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import BuiltinMethodType, MethodType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._words.descriptors import Conversation, identity_of, peer_of, written
from pytest_loopsafe._words.weak import Ref, nowhere, weak

Loop = asyncio.AbstractEventLoop


@dataclass(frozen=True)
class SelectorTouched(Sighting):
    """A child is about to call a method of the selector of an open loop of its parent's."""

    loop: Loop
    method: str


@dataclass(frozen=True)
class GivenWork(Sighting):
    """A child is about to schedule something on an open loop of its parent's that it does not run.

    Not what only lets go: to stop the loop, to cancel a task, to close.
    """

    loop: Loop
    method: str


@dataclass(frozen=True)
class SignalTaken(Sighting):
    """A child got a signal for which the loop of its parent has a handler.

    Attributes:
        number: the signal.
        loop: the parent's loop; None where nobody can tell which.
        reaches: whether it went to the parent, by the wake-up descriptor that both have.
    """

    number: int
    loop: Loop | None
    reaches: bool


@dataclass(frozen=True)
class ConnectionShared(Sighting):
    """A child is about to use a connection that came along, past any transport.

    Attributes:
        thing: the socket; None where only the number of its descriptor is known.
        method: what is called.
        peer: the other side.
        loop: the loop of the parent's that waits for it; None where none does.
    """

    thing: Any
    method: str
    peer: str
    loop: Loop | None


_ON_SELECTORS = ("register", "unregister", "modify", "select")
_READS = ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "read")
_USES = (*_READS, "send", "sendall", "sendmsg", "write", "shutdown")
_FOREIGN = ("add_reader", "add_writer", "remove_reader", "remove_writer")
_SCHEDULE = ("call_soon", "call_soon_threadsafe", "call_at")
_TIMERS = ("call_at", "call_later")
_LETS_GO = ("stop", "cancel", "close", "abort")
_HARMLESS = {getattr(signal, name, None) for name in ("SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH")}
"""What a process does not even notice that has no handler for them."""


class InheritanceProbe:
    """Sees nothing in a process that was not forked."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Wait for a fork."""
        patches.when_inherited(_Child(patches, emit).inherits)


class _Child:
    """Hooks what a child shares."""

    def __init__(self, patches: Patches, emit: Emit) -> None:
        self._patches = patches
        self._emit = emit
        self._shared: dict[int, tuple[Conversation, Ref]] = {}

    def inherits(self, loops: Sequence[Loop], connections: Sequence[Conversation]) -> None:
        open_loops = [loop for loop in loops if not loop.is_closed()]
        self._hook_connections(open_loops, connections)
        for loop in open_loops:
            selector = _cpython.shared_selector(loop)
            if selector is not None:
                self._hook_selector(selector, weakref.ref(loop))
        inherited = {id(loop): weakref.ref(loop) for loop in open_loops}
        self._hook_foreign(inherited)
        if inherited:
            self._hook_scheduling(inherited)
        self._hook_signals(open_loops)

    # -- selectors -----------------------------------------------------------------------------

    def _hook_selector(self, selector: Any, loop: weakref.ref[Any]) -> None:
        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            name = original.__name__

            def touch(*args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                self._touched(loop(), name)
                return original(*args, **kwargs)

            return touch

        for name in _ON_SELECTORS:
            if name not in vars(selector):
                self._patches.replace(selector, name, build)

    def _touched(self, loop: Any, method: str) -> None:
        if loop is not None and not loop.is_closed():
            self._emit(SelectorTouched(loop, method))

    def _hook_foreign(self, inherited: dict[int, weakref.ref[Any]]) -> None:
        """Of what is compiled the public methods are seen."""

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            name = original.__name__

            def touch(loop: Any, fd: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                ref = inherited.get(id(loop))
                if ref is not None and ref() is loop:
                    self._touched(loop, name)
                elif name.startswith("add"):
                    self._waits(fd, selectors.EVENT_READ if name == "add_reader" else 0)
                return original(loop, fd, *args, **kwargs)

            return touch

        for name in _FOREIGN:
            self._patches.on_loop_classes(name, build, inherited=True, foreign_only=True)

    # -- what is scheduled ---------------------------------------------------------------------

    def _hook_scheduling(self, inherited: dict[int, weakref.ref[Any]]) -> None:
        """Other loops of their classes are the child's own, and pass."""
        running, of_parent, emit = _cpython.get_running_loop, inherited.get, self._emit

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            name = original.__name__
            at = 1 if name in _TIMERS else 0  # where the callback is

            def call_soon(self: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                parents: Any = of_parent(id(self), nowhere)()
                if parents is not self:
                    return original(self, *args, **kwargs)
                if running() is not parents and not self.is_closed() and not _lets_go(*args[at:]):
                    emit(GivenWork(self, name))
                handle = original(self, *args, **kwargs)
                if _cpython.in_debug(self):
                    _cpython.forget_hook(handle)
                return handle

            return call_soon

        for name in _SCHEDULE:
            self._patches.on_loop_classes(name, build, inherited=True)
        self._patches.on_loop_classes("call_later", build, inherited=True, foreign_only=True)

    # -- signals -------------------------------------------------------------------------------

    def _hook_signals(self, loops: Sequence[Loop]) -> None:
        noted: dict[int, Any] = {}
        for number in map(int, signal.valid_signals() - _HARMLESS):
            handler = signal.getsignal(number)
            if handler is not None and handler is _cpython.SIGNAL_HANDLER:
                owners = (one for one in loops if number in _cpython.handled_signals(one))
                noted[number] = next(owners, None)
            elif type(handler) is MethodType and issubclass(type(handler.__self__), Loop):
                noted[number] = handler.__self__
        with suppress(ValueError):  # not in the main thread
            wakeup = _wakeup_descriptor() if noted else -1
            for number, loop in noted.items():
                self._hook_signal(number, weak(loop), wakeup)

    def _hook_signal(self, number: int, loop: Ref, wakeup: int) -> None:
        original: Any = signal.getsignal(number)

        def handler(signum: int, frame: Any) -> Any:
            __tracebackhide__ = True
            reaches = wakeup >= 0 and _wakeup_descriptor() == wakeup
            self._emit(SignalTaken(signum, loop(), reaches))
            return original(signum, frame)

        signal.signal(number, handler)
        signal.siginterrupt(number, False)  # as loops have it

    # -- connections ---------------------------------------------------------------------------

    def _hook_connections(self, loops: Sequence[Loop], talked: Sequence[Conversation]) -> None:
        self._shared = {one.number: (one, nowhere) for one in talked}
        for loop in loops:
            for number in _cpython.watched_descriptors(loop):
                self._watched(number, loop)
        if not self._shared:
            return
        self._patches.replace(_cpython.SELECTOR_BASE, "register", self._build_register)
        self._patches.replace(_cpython.SELECTOR_BASE, "modify", self._build_register)
        for cls in (_SOCKET, getattr(sys.modules.get("ssl"), "SSLSocket", None)):
            for name in _USES:
                if cls is not None and hasattr(cls, name):
                    self._patches.replace(cls, name, self._build_use)

    def _watched(self, number: int, loop: Loop) -> None:
        """A loop of the parent's waits for it: if it is a connection, that is in use there."""
        peer, identity = peer_of(number), identity_of(number)
        if peer is not None and peer[1] and identity is not None:
            one = Conversation(number, identity, written(peer), both_ways=True)
            self._shared[number] = one, weakref.ref(loop)

    def _build_register(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def register(selector: Any, fileobj: Any, events: Any, data: Any = None) -> Any:
            __tracebackhide__ = True
            self._waits(fileobj, events)
            return original(selector, fileobj, events, data)

        return register

    def _build_use(self, original: Callable[..., Any]) -> Callable[..., Any]:
        name = original.__name__

        def use(sock: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            number = _SOCKET.fileno(sock)
            if number in self._shared:
                self._used(number, sock, name, reads=name in _READS)
            return original(sock, *args, **kwargs)

        return use

    def _waits(self, fileobj: Any, events: Any) -> None:
        number = _SOCKET.fileno(fileobj) if issubclass(type(fileobj), _SOCKET) else fileobj
        if type(number) is int and number in self._shared:
            sock = None if number is fileobj else fileobj
            self._used(number, sock, "a wait", reads=bool(events & selectors.EVENT_READ))

    def _used(self, number: int, sock: Any, method: str, *, reads: bool) -> None:
        one, loop = self._shared[number]
        if not one.is_there():
            del self._shared[number]  # the child has closed its copy
        elif one.both_ways or reads:
            self._emit(ConnectionShared(sock, method, one.peer, loop()))


_SOCKET = socket.socket
"""As it was when nobody had put another one in its place."""


def _lets_go(callback: Any = None, *args: Any) -> bool:
    """Whether a callback only ends something, or is told that something was cancelled."""
    is_method = type(callback) in (MethodType, BuiltinMethodType)
    if is_method and issubclass(type(callback.__self__), _ENDED) and callback.__name__ in _LETS_GO:
        return True
    told: Any = args[0] if args else None
    return issubclass(type(told), asyncio.Future) and asyncio.Future.cancelled(told)


_ENDED = (Loop, asyncio.Future, asyncio.BaseTransport, asyncio.Handle, asyncio.AbstractServer)


def _wakeup_descriptor() -> int:
    number = signal.set_wakeup_fd(-1)
    if number >= 0:
        signal.set_wakeup_fd(number)
    return number
