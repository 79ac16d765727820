"""Windows' event loop, where there is none: asyncio's own, over a proactor that asks ``poll()``.

All above the proactor is CPython's: the loop, its servers and its transports. The class does what
``asyncio.windows_events.ProactorEventLoop`` does, which cannot be imported here.
"""

import asyncio
import math
import os
import select
import socket
from asyncio import proactor_events
from collections.abc import Callable
from typing import Any

_poll = select.poll  # what a test takes away, Windows has another way for
_WINDOWS_EVENTS = os.path.join(os.path.dirname(asyncio.__file__), "windows_events.py")
_READS, _WRITES = select.POLLIN, select.POLLOUT


class PollingProactor:
    """Does what it is asked for once the operating system is ready, and completes a future then."""

    def __init__(self) -> None:
        self._loop: Any = None
        self._pending: list[tuple[Any, Any, int, Callable[[], Any]]] = []

    def set_loop(self, loop: Any) -> None:
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        self._pending = [one for one in self._pending if not one[0].done()]
        poll = _poll()
        wanted: dict[int, int] = {}
        for _, conn, event, _ in self._pending:
            number = conn.fileno()
            if number >= 0:
                wanted[number] = wanted.get(number, 0) | event
        for number, events in wanted.items():
            poll.register(number, events)
        ready = dict(poll.poll(None if timeout is None else math.ceil(timeout * 1000)))
        for future, conn, event, attempt in tuple(self._pending):
            if ready.get(conn.fileno(), 0) & ~((_READS | _WRITES) ^ event) and not future.done():
                try:
                    future.set_result(attempt())
                except BlockingIOError:
                    continue
                except OSError as error:
                    future.set_exception(error)
        return []

    def recv(self, conn: Any, nbytes: int, flags: int = 0) -> Any:
        if isinstance(conn, socket.socket):
            return self._when(conn, _READS, lambda: conn.recv(nbytes, flags))
        return self._when(conn, _READS, lambda: os.read(conn.fileno(), nbytes))

    def recv_into(self, conn: Any, buf: Any, flags: int = 0) -> Any:
        if isinstance(conn, socket.socket):
            return self._when(conn, _READS, lambda: conn.recv_into(buf, 0, flags))
        return self._when(conn, _READS, lambda: os.readv(conn.fileno(), [buf]))

    def recvfrom(self, conn: Any, nbytes: int, flags: int = 0) -> Any:
        return self._when(conn, _READS, lambda: conn.recvfrom(nbytes, flags))

    def send(self, conn: Any, buf: Any, flags: int = 0) -> Any:
        if isinstance(conn, socket.socket):
            return self._when(conn, _WRITES, lambda: conn.send(buf, flags))
        return self._when(conn, _WRITES, lambda: os.write(conn.fileno(), buf))

    def sendto(self, conn: Any, buf: Any, flags: int = 0, addr: Any = None) -> Any:
        return self._when(conn, _WRITES, lambda: conn.sendto(buf, flags, addr))

    def accept(self, listener: Any) -> Any:
        def finish() -> Any:
            conn, address = listener.accept()
            conn.settimeout(listener.gettimeout())
            return conn, address

        async def accept_coro(future: Any) -> None:
            await future

        accept_coro.__code__ = accept_coro.__code__.replace(co_filename=_WINDOWS_EVENTS)

        future = self._when(listener, _READS, finish)
        asyncio.ensure_future(accept_coro(future), loop=self._loop)  # as CPython's does
        return future

    def connect(self, conn: Any, address: Any) -> Any:
        def finish() -> Any:
            fault = conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if fault:
                raise OSError(fault, os.strerror(fault))
            return conn

        try:
            conn.connect(address)
        except BlockingIOError:
            pass
        return self._when(conn, _WRITES, finish)

    def close(self) -> None:
        for future, *_ in self._pending:
            future.cancel()
        self._pending.clear()

    def _stop_serving(self, sock: Any) -> None:
        return

    def _when(self, conn: Any, event: int, attempt: Callable[[], Any]) -> Any:
        future = self._loop.create_future()
        self._pending.append((future, conn, event, attempt))
        return future


class ProactorEventLoop(proactor_events.BaseProactorEventLoop):
    def __init__(self) -> None:
        super().__init__(PollingProactor())

    def run_forever(self) -> None:
        try:
            assert self._self_reading_future is None
            self.call_soon(self._loop_self_reading)
            super().run_forever()
        finally:
            if self._self_reading_future is not None:
                self._self_reading_future.cancel()
                self._self_reading_future = None


ProactorEventLoop.__module__ = "asyncio.windows_events"
