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
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

from pytest_loopsafe._words.stacks import Frame, is_library


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
        pass_number: the pass in which it was made, from 1.
        pass_key: what that pass runs: passes of one key run the same code. None for what comes
            before all passes and serves each of them.
        inherited: whether this process got it from its parent, at a fork.
        maker: by whom it was made, ``test_a.py::test_login (fixture 'pool')``; None where nobody
            tells.
        closed: whether it has been closed, as far as a report knows that; None elsewhere.
    """

    number: int
    kind: str
    created: tuple[Frame, ...]
    thread: str
    pid: int
    pass_number: int = 1
    inherited: bool = False
    pass_key: str | None = ""
    maker: str | None = None
    closed: bool | None = field(default=None, compare=False)

    def __str__(self) -> str:
        if self.inherited:
            return f"loop {self.number} of the parent" if self.number > 0 else "the parent's loop"
        return f"loop {self.number}" if self.number > 0 else "a loop made before this test"


def state_of(loop: asyncio.AbstractEventLoop) -> str:
    """``closed``, ``running`` (in whichever thread) or ``paused`` (open, but nobody runs it)."""
    if loop.is_closed():
        return "closed"
    return "running" if loop.is_running() else "paused"


class Maker:
    """Who makes loops: a test, or a fixture of it.

    Attributes:
        name: for people.
        is_wide: whether it serves more than one test.
        is_over: whether it has ended: what it made and nobody closed is left open by then.
    """

    __slots__ = ("is_over", "is_wide", "name")

    def __init__(self, name: str, *, is_wide: bool = False) -> None:
        self.name = name
        self.is_wide = is_wide
        self.is_over = False


@dataclass(eq=False, slots=True)
class _Entry:
    ref: weakref.ref[asyncio.AbstractEventLoop] | None
    info: LoopInfo
    maker: Maker | None
    closed: bool = False
    closed_before: int = 0  # the number of the next loop that was made then
    ran: set[CodeType] = field(default_factory=set)

    def is_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is this loop's; one without weak references is known by its address."""
        return self.ref is None or self.ref() is loop


class LoopRegistry:
    """The loops of one watched stretch of code, numbered in the order of their creation.

    Loops may be made and used in any thread.

    Args:
        lock: the watch's own. It is re-entrant: a signal handler may ask while its thread is here.

    Attributes:
        maker: tells who makes a loop that is made now.
        test: the name of the test that runs; None where nobody tells.
    """

    def __init__(self, lock: threading.RLock | None = None) -> None:
        self._lock = lock if lock is not None else threading.RLock()
        self._by_id: dict[int, _Entry] = {}
        self._infos: list[LoopInfo] = []
        self.maker: Callable[[], Maker | None] = lambda: None
        self.test: str | None = None
        self._made = 0
        self._before = 0  # so many had been made when this stretch began
        self._at_work: set[int] = set()
        self._entries: dict[int, _Entry] = {}
        self._earlier = 0
        self._latest: tuple[int, str | None] = (1, "")
        self._of_thread = threading.local()

    def turn(self) -> None:
        """Another stretch of code begins: what was made before is known, and no part of it.

        The loops that are open and whose makers go on are: theirs is to close them.
        """
        with self._lock:
            self._entries = {n: one for n, one in self._entries.items() if _exists(one)}
            self._by_id = {key: one for key, one in self._by_id.items() if _exists(one)}
            self._infos = [info for info in self._infos if self.lasts(info)]
            self._before = self._made
            self._at_work.clear()

    def is_earlier(self, info: LoopInfo) -> bool:
        """Whether a loop was made before this stretch of code began."""
        return info.number <= self._before

    def lasts(self, info: LoopInfo) -> bool:
        """Whether a loop is open, and who made it has not ended: it may yet be closed."""
        entry = self._entries.get(info.number)
        if entry is None or entry.closed or entry.maker is None:
            return False
        return not entry.maker.is_over

    def at_work(self, *, wide: bool) -> bool:
        """Whether a loop has run tasks in this stretch of code.

        Args:
            wide: one that serves more than one test; else one of this test's own.
        """
        with self._lock:
            at_work = [self._entries[number] for number in self._at_work]
        return any(
            (self.is_earlier(one.info) or (one.maker is not None and one.maker.is_wide)) is wide
            for one in at_work
        )

    def works(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that a loop runs a task."""
        info = self.of(loop)
        with self._lock:
            self._at_work.add(info.number)

    @property
    def pass_number(self) -> int:
        """The pass that this thread is in; a thread that began none is in the latest."""
        return self._pass()[0]

    @property
    def pass_key(self) -> str | None:
        """What the pass runs that this thread is in."""
        return self._pass()[1]

    def may_serve(self, number: int) -> bool:
        """Whether this thread may work for a pass: it is in none of its own, or in this one."""
        begun: tuple[int, str | None] | None = getattr(self._of_thread, "begun", None)
        return begun is None or begun[0] == number

    def begin_pass(self, number: int, key: str | None = "") -> None:
        """What this thread makes from here on is made in this pass, which runs this."""
        self._latest = self._of_thread.begun = (number, key)

    def _pass(self) -> tuple[int, str | None]:
        begun: tuple[int, str | None] = getattr(self._of_thread, "begun", self._latest)
        return begun

    def forked(
        self, parent: int, loops: Iterable[asyncio.AbstractEventLoop], lock: threading.RLock
    ) -> None:
        """Take note, in a forked child, that all loops there are came from its parent.

        Args:
            parent: the parent's process id.
            loops: all loops that there are.
            lock: a new one; the old one's holder may have been a thread that the child has not.
        """
        self._lock = lock
        self._infos = []  # those are the parent's to list, and to be judged there
        for entry in self._by_id.values():
            entry.info = replace(entry.info, inherited=True)
            self._entries[entry.info.number] = entry
        self.inherit(loops, parent)

    def inherit(self, loops: Iterable[asyncio.AbstractEventLoop], parent: int) -> None:
        """Take note that these loops were made in the process's parent."""
        for loop in loops:
            info = replace(self.of(loop), pid=parent, inherited=True)
            self._by_id[id(loop)].info = info

    def count_from(self, made: int) -> None:
        """Number the loops to come as if so many had been made: siblings' numbers stay unique."""
        self._made = max(self._made, made)

    def born(self, loop: asyncio.AbstractEventLoop, created: tuple[Frame, ...]) -> LoopInfo:
        """Number a loop that has just been made."""
        with self._lock:
            entry = self._by_id.get(id(loop))
            if entry is not None and entry.ref is not None and entry.ref() is loop:
                return entry.info  # a class whose __init__ calls its base's: one birth
            self._made += 1
            info = self._describe(loop, self._made, created)
            self._infos.append(info)
            self._enter(loop, info)
            return info

    def of(self, loop: asyncio.AbstractEventLoop) -> LoopInfo:
        """The loop's number; one that nobody saw being made is from before the test."""
        entry = self._by_id.get(id(loop))  # without the lock: it is asked at each sighting
        if entry is not None and entry.is_of(loop):
            return entry.info
        with self._lock:
            entry = self._by_id.get(id(loop))
            if entry is not None and entry.is_of(loop):
                return entry.info
            info = self._describe(loop, -self._earlier, ())
            self._earlier += 1
            self._enter(loop, info)
            return info

    def ran(self, loop: asyncio.AbstractEventLoop, code: CodeType) -> None:
        """Note what a loop was given to run: code that runs again in a later loop had a chance."""
        self.works(loop)
        with self._lock:
            self._by_id[id(loop)].ran.add(code)

    def closed(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that a loop was closed."""
        self.of(loop)
        with self._lock:
            entry = self._by_id[id(loop)]
            entry.closed, entry.closed_before = True, self._made + 1

    def is_closed(self, info: LoopInfo) -> bool:
        """Whether a loop was closed, also one that is gone by now."""
        with self._lock:
            entry = self._entries.get(info.number)
            return entry is not None and entry.closed

    def rerun_since(self, info: LoopInfo) -> LoopInfo | None:
        """The last of the later loops that ran what this one had run, or None.

        Of one that is closed, those that were made after its end: it may have lived beside others.
        Those of later passes of the same key did, for a key stands for the code. Within a pass,
        what was given to ``run_until_complete`` tells, where it is the user's own.
        """
        with self._lock:
            entry = self._entries.get(info.number)
            if entry is None:
                return None
            own = {code for code in entry.ran if not is_library(code.co_filename)}
            for later in reversed(self._infos):
                if later.number <= info.number or later.number < entry.closed_before:
                    break
                other = self._entries[later.number]
                same_key = info.pass_key is None or info.pass_key == later.pass_key
                again = same_key and later.pass_number > info.pass_number
                if other.ran and (again or own & other.ran):
                    return later
        return None

    def lived_beside(self, info: LoopInfo, other: LoopInfo | None = None) -> bool:
        """Whether any other loop, or that one, was there at the same time as one that is closed."""
        with self._lock:
            own = self._entries.get(info.number)
            if own is None:
                return False
            return any(
                entry is not own
                and entry.info.number < own.closed_before
                and (not entry.closed or info.number < entry.closed_before)
                for entry in self._entries.values()
                if (entry.info.number > 0 if other is None else entry.info.number == other.number)
            )

    def named(self, thing: Any) -> str | None:
        """``loop 1`` for a loop, ``id of loop 1`` for the ``id()`` of one, None for all else."""
        if issubclass(type(thing), asyncio.AbstractEventLoop):  # never ask a proxy
            return str(self.of(thing))
        if type(thing) is int:
            with self._lock:
                entry = self._by_id.get(thing)
            return f"id of {entry.info}" if entry is not None else None
        return None

    def made(self) -> tuple[LoopInfo, ...]:
        """All loops made during the test, in order, each with whether it is closed by now."""
        made = self.made_after(self._before)
        return tuple(replace(info, closed=self.is_closed(info)) for info in made)

    def open_until_now(self) -> tuple[LoopInfo, ...]:
        """All loops that this stretch of code could have closed, in order."""
        with self._lock:
            return tuple(self._infos)

    def used(self) -> int:
        """How many loops there were for the code: made here, or older and given work here."""
        with self._lock:
            return sum(entry.info.number > 0 or bool(entry.ran) for entry in self._entries.values())

    def made_after(self, number: int) -> tuple[LoopInfo, ...]:
        """The loops made after the one with this number, in order."""
        with self._lock:
            return tuple(info for info in self._infos if info.number > number)

    def forget(self, keep: int) -> None:
        """Let go of what is known of loops that are gone, but for the last ones.

        For processes that run for days: there each loop would leave its stack behind.

        Args:
            keep: how many of the last loops to remember in any case.
        """
        with self._lock:
            if len(self._infos) <= 2 * keep:
                return
            old, last = self._infos[:-keep], self._infos[-keep:]
            kept = [info for info in old if _exists(self._entries[info.number])]
            for info in set(old).difference(kept):
                del self._entries[info.number]
            self._by_id = {
                address: entry
                for address, entry in self._by_id.items()
                if entry.info.number in self._entries
            }
            self._infos = kept + last

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
        maker = self.maker() if info.number > self._before else None
        self._by_id[id(loop)] = self._entries[info.number] = _Entry(ref, info, maker)

    def _describe(
        self, loop: asyncio.AbstractEventLoop, number: int, created: tuple[Frame, ...]
    ) -> LoopInfo:
        kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
        thread = threading.current_thread().name
        in_pass, key = self._pass()
        maker = self.maker() if number > 0 else None
        name = maker.name if maker is not None else None
        pid = os.getpid()
        return LoopInfo(number, kind, created, thread, pid, in_pass, pass_key=key, maker=name)


def _exists(entry: _Entry) -> bool:
    return entry.ref is None or entry.ref() is not None
