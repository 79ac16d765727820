"""LS203 for clients that no adapter knows: several connections were opened for one place.

A client of one's own, or of a library that nobody wrote an adapter for, is seen by its connection
alone. Two connections are rivals where one line opened them at the same time, for the same object,
and its function puts one somewhere: ``self.conn = await connect()``. One of the two is lost when
the other takes its place. Where in the end none is in that place, the source has to say that there
was to be one only: its function looks there first (``if self.conn is None:``).
"""

from __future__ import annotations

import re
import weakref
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph import asked
from pytest_loopsafe._graph.bindings import is_transport
from pytest_loopsafe._probes.connections import (
    ConnectionDropped,
    ConnectionFinalized,
    ConnectionMade,
    ConnectionProbe,
)
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopClosing
from pytest_loopsafe._rules.base import Detector, TaskLife, loop_births, name_thing
from pytest_loopsafe._rules.ls203 import RACE
from pytest_loopsafe._rules.ls303 import is_left
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.stacks import (
    Frame,
    Stack,
    first_argument,
    is_library,
    is_stdlib,
    live_frames,
    stack_here,
    suspended_frames,
)


@dataclass(frozen=True)
class _Opener:
    """A function of the user's that was running when a connection was opened.

    Attributes:
        key: its file and first line, and the ``id()`` of its object where it is a method. Two
            objects have a place each; they live at the same time, so the number tells them apart.
        call: which call of it: one that opens several itself is no race with itself.
        filled: the names that it writes to.
        if_empty: the same, where it looks at one of them before it opens anything.
    """

    key: tuple[str, int, int | None]
    call: int
    filled: frozenset[str]
    if_empty: frozenset[str]


@dataclass(eq=False)
class _Opened:
    """One connection, and who opened it."""

    ref: weakref.ref[Any]
    name: str
    loop: LoopInfo
    frames: tuple[Frame, ...]
    life: TaskLife
    openers: tuple[_Opener, ...]
    collected: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether somebody closed it, and not the collector."""
        thing = self.ref()
        return not self.collected and (thing is None or not is_left(thing))


class RivalConnections(Detector):
    """LS203 at the end of each loop, by connections."""

    rules = (RACE,)
    probes = (ConnectionProbe(), LifeProbe())
    judges = (ConnectionMade, ConnectionDropped, ConnectionFinalized, LoopClosing)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._opened: dict[object, list[_Opened]] = defaultdict(list)
        self._by_address: dict[int, _Opened] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Group connections by the line that opens them; look at each group when its loop ends."""
        if isinstance(sighting, ConnectionMade):
            self._note(sighting)
        elif isinstance(sighting, ConnectionDropped | ConnectionFinalized):
            one = self._by_address.get(id(sighting.thing))
            if one is not None:
                # In its finalizer no reference leads to it any more.
                one.collected |= one.ref() in (sighting.thing, None)
        elif isinstance(sighting, LoopClosing):
            info = self.loops.of(sighting.loop)
            ended = [[one for one in group if one.loop is info] for group in self._opened.values()]
            self._forget(info)
            for rivals in ended:
                if any(one.life.overlaps for one in rivals):
                    yield from self._judge(rivals)

    def _forget(self, info: LoopInfo) -> None:
        for key, group in list(self._opened.items()):
            self._opened[key] = [one for one in group if one.loop is not info]
            if not self._opened[key]:
                del self._opened[key]
        for address, one in list(self._by_address.items()):
            if one.loop is info:
                del self._by_address[address]

    def _note(self, sighting: ConnectionMade) -> None:
        task, info = _cpython.current_task(), self.loops.of(sighting.loop)
        self._by_address.pop(id(sighting.thing), None)  # one that is gone
        if task is None or not is_transport(type(sighting.thing)) or self._is_for_a_known_client():
            return
        frames = stack_here()
        site = Stack("", frames).site
        openers = _openers(task)
        if site is None or not openers:
            return
        name, life = name_thing(sighting.thing), TaskLife(task)
        opened = _Opened(weakref.ref(sighting.thing), name, info, frames, life, openers)
        group = self._opened[site.file, site.line]
        life.meet(one.life for one in group if one.loop is info)
        group.append(opened)
        self._by_address[id(sighting.thing)] = opened

    def _is_for_a_known_client(self) -> bool:
        """Whether an adapter knows the client that opens it: another detector judges that."""
        return any(
            self.graph.adapters.of(first_argument(frame)) is not None
            for frame in live_frames()
            if is_library(frame.f_code.co_filename) and not is_stdlib(frame.f_code.co_filename)
        )

    def _judge(self, rivals: list[_Opened]) -> Iterator[Observation]:
        unheld: list[_Opened] = []
        winner, place = None, ""
        wanted: tuple[_Opener, ...] = ()
        for one in rivals[-_LOOKED_AT:]:
            thing = one.ref()
            owners = self.graph.owners(thing) if thing is not None else ()
            if one.collected or (thing is not None and is_left(thing) and not owners):
                unheld.append(one)
            for owner in owners:
                names = set(_NAMES.findall(owner.path))
                fillers = tuple(opener for opener in one.openers if opener.filled & names)
                if owner.own and not owner.hidden and fillers:
                    if any(self.graph.adapters.of(part) is not None for part in owner.chain[:-1]):
                        return
                    winner, place, wanted = one, owner.path, fillers
        if winner is None:
            # It may have been closed in order, as the last thing that its loop did.
            for one in rivals:
                lookers = tuple(opener for opener in one.openers if opener.if_empty)
                if lookers and one.is_closed:
                    winner, wanted = one, lookers
                    names = {name for opener in lookers for name in opener.if_empty}
                    place = " or ".join(sorted(names))
        calls = {opener.key: opener.call for opener in wanted}
        lost = [
            one
            for one in unheld
            if any(calls.get(opener.key, opener.call) != opener.call for opener in one.openers)
        ]
        if winner is None or not lost:
            return
        are = "is" if len(lost) == 1 else "are"
        yield Observation(
            Finding(
                RACE,
                f"{len(rivals)} connections were opened at once in {winner.loop} for {place}: "
                f"{len(lost)} of them {are} lost, and nobody closed "
                f"{'it' if len(lost) == 1 else 'them'} ({lost[0].name})",
                winner.loop,
                None,
                (
                    Stack("the one that was kept was opened here", winner.frames),
                    Stack("another was opened here", lost[0].frames),
                    *loop_births(winner.loop),
                ),
                RACE.remedy,
                owner=place,
            )
        )


def _openers(task: Any) -> tuple[_Opener, ...]:
    """The user's functions that a task runs, as far as they write to anything.

    And those of the tasks that wait for it: before 3.12 ``wait_for`` makes a task of what it is
    given, as ``gather`` does on every version.
    """
    frames = live_frames()
    begins = [n for n, frame in enumerate(frames) if frame.f_code.co_qualname == "Handle._run"]
    frames = frames[begins[-1] if begins else 0 :]
    for _ in range(_WAITERS):
        task = _cpython.awaiter_of(task)
        if task is None:
            break
        frames = [*suspended_frames(task.get_coro())[0], *frames]
    openers: list[_Opener] = []
    for frame in frames:
        code, line = frame.f_code, frame.f_lineno
        if not is_library(code.co_filename) and (filled := asked.fills(code.co_filename, line)):
            is_method = code.co_varnames[:1] in (("self",), ("cls",)) and code.co_argcount > 0
            bearer = id(first_argument(frame)) if is_method else None
            key = (code.co_filename, code.co_firstlineno, bearer)
            openers.append(
                _Opener(key, id(frame), filled, asked.fills_if_empty(code.co_filename, line))
            )
    return tuple(openers)


_WAITERS = 3
"""So far out it is looked for who wants the connection."""

_NAMES = re.compile(r"\w+")
_LOOKED_AT = 50
"""Of so many rivals it is searched who holds them: the last ones, for the last one stays."""
