"""LS303 and LS202: a connection left open at its loop's end, and what became of it.

Nobody holds it: it was left open (LS303). A global holds it: that may be a client that looks at
its loop when it is used next, so it is judged later. If a new one has then taken its place and the
old was never closed, the change of loops leaks connections (LS202). If it is still in its place, it
is stale (LS201, another detector's).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.bindings import is_open
from pytest_loopsafe._probes.connections import (
    ConnectionDropped,
    ConnectionFinalized,
    ConnectionMade,
    ConnectionProbe,
)
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopClosing
from pytest_loopsafe._rules.base import Detector, PassEnded, loop_births, name_thing
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, stack_here

LEFT_OPEN = Rule(
    "LS303",
    "transport-left-open",
    Severity.WARNING,
    "a transport, server or socket was left open at its loop's end",
    "Close it before its loop ends: `async with` within the function given to asyncio.run().",
)
LEAK = Rule(
    "LS202",
    "rebind-leak",
    Severity.ERROR,
    "a resource was replaced, and its predecessor was never closed",
    "Close the predecessor in its own loop, before that ends; the new loop cannot (close() and "
    "even abort() need the loop that is gone). Where there is no such moment, make the client "
    "inside the function given to asyncio.run() with `async with`, or keep one for each loop with "
    "pytest_loopsafe.recipes.LoopLocal, which closes it when its loop ends.",
)


@dataclass
class _Left:
    """A connection that was open when its loop ended."""

    ref: weakref.ref[Any]
    name: str
    loop: LoopInfo
    frames: tuple[Frame, ...]
    descriptor: tuple[int, int] | None
    root: str | None = None
    path: str | None = None
    dropped: bool = False

    @property
    def site(self) -> Frame | None:
        return Stack("", self.frames).site


class LeftConnections(Detector):
    """LS303 and LS202."""

    rules = (LEFT_OPEN, LEAK)
    probes = (ConnectionProbe(), LifeProbe())
    judges = (ConnectionMade, ConnectionDropped, ConnectionFinalized, LoopClosing, PassEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._made: weakref.WeakKeyDictionary[Any, tuple[LoopInfo, tuple[Frame, ...]]] = (
            weakref.WeakKeyDictionary()
        )
        self._sites: list[tuple[LoopInfo, tuple[Frame, ...]]] = []
        self._left: dict[int, _Left] = {}
        self._held: dict[int, _Left] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Follow each connection from its making to the end of its loop, and beyond."""
        if isinstance(sighting, ConnectionMade):
            entry = (self.loops.of(sighting.loop), stack_here())
            self._made[sighting.thing] = entry
            self._sites.append(entry)
        elif isinstance(sighting, ConnectionDropped):
            held = self._held.get(id(sighting.thing))
            if held is not None:
                held.dropped = True
        elif isinstance(sighting, ConnectionFinalized):
            yield from self._finalized(sighting)
        elif isinstance(sighting, LoopClosing):
            self._note_open(self.loops.of(sighting.loop))
        elif isinstance(sighting, PassEnded):
            yield from self._judge_held()
            yield from self._judge_left()

    def _note_open(self, info: LoopInfo) -> None:
        for thing, (loop, frames) in list(self._made.items()):
            if loop is info and is_left(thing):
                descriptor = _descriptor(thing)
                name = name_thing(thing)
                self._left[id(thing)] = _Left(weakref.ref(thing), name, info, frames, descriptor)

    def _judge_left(self) -> Iterator[Observation]:
        """The connections of the loops that have ended in this pass: does anybody hold them?"""
        left, self._left = self._left, {}
        for one in left.values():
            thing = one.ref()
            owners = self.graph.owners(thing) if thing is not None else ()
            owner = next((owner for owner in owners if not owner.hidden), None)
            if owner is None:
                yield self._left_open(one)
            else:
                one.root, one.path = owner.root, owner.path
                self._held[id(thing)] = one

    def _judge_held(self) -> Iterator[Observation]:
        """Those that a global held when their loop ended: closed, replaced, or still there?"""
        held, self._held = self._held, {}
        for key, one in held.items():
            thing = one.ref()
            if thing is not None and not is_left(thing):
                continue  # closed after all
            if thing is not None and any(not owner.hidden for owner in self.graph.owners(thing)):
                self._held[key] = one
            elif thing is not None or one.dropped:
                successor = self._successor(one)
                if successor is not None:
                    yield self._leaked(one, *successor)
                else:
                    yield self._left_open(one)

    def _successor(self, left: _Left) -> tuple[LoopInfo, tuple[Frame, ...]] | None:
        """The connection that took its place: made later, by the same line of the user's."""
        for info, frames in self._sites:
            if info.number > left.loop.number:
                site = Stack("", frames).site
                if (
                    site
                    and left.site
                    and (site.file, site.line) == (left.site.file, left.site.line)
                ):
                    return info, frames
        for info, frames in self._sites:
            if info.number > left.loop.number:
                return info, frames
        return None

    def _finalized(self, sighting: ConnectionFinalized) -> Iterator[Observation]:
        """Closed by a finalizer in time, or too late: then its predecessor's fate is known."""
        held = self._held.get(id(sighting.thing))
        if held is not None:
            held.dropped = True
            return
        known = self._made.get(sighting.thing)
        if known is None or sighting.loop.is_closed():
            return  # met by the closed loop's own refusal
        info, frames = known
        yield Observation(
            Finding(
                LEFT_OPEN,
                f"{name_thing(sighting.thing)} of {info} was dropped without being closed; only "
                "its finalizer closed it",
                info,
                None,
                (Stack(f"it was made in {info}", frames), *loop_births(info)),
                LEFT_OPEN.remedy,
            )
        )

    def _left_open(self, left: _Left) -> Observation:
        return Observation(
            Finding(
                LEFT_OPEN,
                f"{left.name} was still open when {left.loop} ended",
                left.loop,
                None,
                (Stack(f"it was made in {left.loop}", left.frames), *loop_births(left.loop)),
                LEFT_OPEN.remedy,
                owner=left.path,
            )
        )

    def _leaked(self, left: _Left, now: LoopInfo, frames: tuple[Frame, ...]) -> Observation:
        if left.descriptor is not None and _still_open(left.descriptor):
            proof = f"the operating system still has it open (descriptor {left.descriptor[0]})"
        else:
            proof = "only the collector ended it"
        return Observation(
            Finding(
                LEAK,
                f"{left.root} got a new connection in {now}, and its predecessor, {left.name} of "
                f"{left.loop}, was never closed: {proof}",
                now,
                left.loop,
                (
                    Stack(f"the new one was made in {now}", frames),
                    Stack(f"its predecessor was made in {left.loop}", left.frames),
                    *loop_births(left.loop, now),
                ),
                LEAK.remedy,
                home_state="closed",
                owner=left.path,
            ),
            identity=left.root,
        )


def is_left(thing: Any) -> bool:
    """Whether a transport or server is open, and nobody is closing it."""
    sockets = getattr(thing, "sockets", None)
    if sockets is not None:  # a server
        return bool(sockets)
    if not is_open(thing):
        return False
    return not thing.is_closing() or _loop_is_closed(thing)  # else it is being closed


def _loop_is_closed(thing: Any) -> bool:
    """Whether a transport's loop is closed, so that a close() that was asked for cannot happen."""
    loop = _cpython.transport_loop(thing)
    return loop is not None and loop.is_closed()


def _descriptor(thing: Any) -> tuple[int, int] | None:
    """The file descriptor and the identity of what is behind it."""
    sock = getattr(thing, "_sock", None)
    try:
        number = sock.fileno() if sock is not None else -1
        return (number, os.fstat(number).st_ino) if number >= 0 else None
    except OSError:
        return None


def _still_open(descriptor: tuple[int, int]) -> bool:
    number, identity = descriptor
    try:
        return os.fstat(number).st_ino == identity
    except OSError:
        return False
