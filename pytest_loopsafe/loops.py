"""Event loops by number. A loop is known by (process, weak reference, serial number).

Never by ``id(loop)``: CPython hands a freed loop's address to the next one, which is a hazard that
this plugin looks for (LS204), so it must not fall for it. And never by a strong reference: a loop
kept alive cannot give its address away, and the hazard would hide.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from dataclasses import dataclass

from pytest_loopsafe.stacks import Frame


@dataclass(frozen=True)
class LoopInfo:
    """What is known of a loop, without holding it.

    Attributes:
        number: 1 for the first loop made in the test, and so on; 0 and less for loops that were
            there before the test began.
        kind: the qualified name of its class.
        created: the stack that made it, outermost frame first; empty where nobody saw that.
        thread: the name of the thread that made it, or first used it.
        pid: the process it belongs to.
    """

    number: int
    kind: str
    created: tuple[Frame, ...]
    thread: str
    pid: int

    def __str__(self) -> str:
        return f"loop {self.number}" if self.number > 0 else "a loop made before this test"


def state_of(loop: asyncio.AbstractEventLoop) -> str:
    """``closed``, ``running`` (in whichever thread) or ``paused`` (open, but nobody runs it)."""
    if loop.is_closed():
        return "closed"
    return "running" if loop.is_running() else "paused"


class _Entry:
    __slots__ = ("info", "ref")

    def __init__(self, ref: weakref.ref[asyncio.AbstractEventLoop] | None, info: LoopInfo) -> None:
        self.ref = ref
        self.info = info


class LoopRegistry:
    """The loops of one watched stretch of code, numbered in the order of their creation.

    Loops may be made and used in any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[int, _Entry] = {}
        self._infos: list[LoopInfo] = []
        self._earlier = 0

    def born(self, loop: asyncio.AbstractEventLoop, created: tuple[Frame, ...]) -> LoopInfo:
        """Number a loop that has just been made."""
        with self._lock:
            entry = self._by_id.get(id(loop))
            if entry is not None and entry.ref is not None and entry.ref() is loop:
                return entry.info  # a class whose __init__ calls its base's: one birth
            info = self._describe(loop, len(self._infos) + 1, created)
            self._infos.append(info)
            self._enter(loop, info)
            return info

    def of(self, loop: asyncio.AbstractEventLoop) -> LoopInfo:
        """The loop's number; one that nobody saw being made is from before the test."""
        with self._lock:
            entry = self._by_id.get(id(loop))
            if entry is not None and (entry.ref is None or entry.ref() is loop):
                return entry.info
            info = self._describe(loop, -self._earlier, ())
            self._earlier += 1
            self._enter(loop, info)
            return info

    def made(self) -> tuple[LoopInfo, ...]:
        """All loops made during the test, in order."""
        with self._lock:
            return tuple(self._infos)

    def alive(self) -> list[asyncio.AbstractEventLoop]:
        """The loops that still exist. For the moment only: do not keep the list."""
        with self._lock:
            return [
                loop
                for entry in self._by_id.values()
                if entry.ref is not None and (loop := entry.ref()) is not None
            ]

    def _enter(self, loop: asyncio.AbstractEventLoop, info: LoopInfo) -> None:
        try:
            ref = weakref.ref(loop)
        except TypeError:  # a loop class with __slots__ and no __weakref__: known by address only
            ref = None
        self._by_id[id(loop)] = _Entry(ref, info)

    @staticmethod
    def _describe(
        loop: asyncio.AbstractEventLoop, number: int, created: tuple[Frame, ...]
    ) -> LoopInfo:
        kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
        return LoopInfo(number, kind, created, threading.current_thread().name, os.getpid())
