"""LS204: a new loop was taken for an earlier one that had the same ``id()``.

``id()`` is an address, and the next loop often gets the address of the one before it. So code that
remembers ``id(loop)`` takes the new loop for the old. What it remembers is an int object; code that
rebuilds for the new loop writes a new one. One that was there before the loop was made, and is
there unchanged after the loop has run the code, was taken for the new loop's.

Left alone: a number that was there before any loop of this watch had it, for another test left it;
and one that is written down and never asked for.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe._graph.notes import Note, Numbers, is_consulted
from pytest_loopsafe._probes.births import LoopBorn
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._rules.base import Detector, PassEnded, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity

RULE = Rule(
    "LS204",
    "loop-id-reuse",
    Severity.ERROR,
    "a new loop was taken for an earlier one that had the same id()",
    "Compare the loop itself through a weak reference (`ref() is asyncio.get_running_loop()`), or "
    "key by it in a WeakKeyDictionary; id(loop) is an address, and the next loop may get it.",
)


_NUMBERS_LOOKED_FOR = 8
_IDS_KEPT = 256
_ALWAYS = 50
_THEN_EVERY = 16


@dataclass(frozen=True)
class _Reuse:
    numbers: Numbers
    earlier: LoopInfo
    later: LoopInfo
    notes: dict[str, Note]


class LoopIdentity(Detector):
    """LS204."""

    rules = (RULE,)
    judges = (LoopBorn, PassEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ids: dict[int, tuple[weakref.ref[asyncio.AbstractEventLoop], LoopInfo]] = {}
        self._found_there: dict[int, list[Note]] = {}
        self._reused: list[_Reuse] = []
        self._searches = 0

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Look for the number when a loop takes it over, and again when the pass has ended."""
        if isinstance(sighting, LoopBorn):
            number, info = id(sighting.loop), self.loops.of(sighting.loop)
            earlier = self._ids.get(number)
            numbers = Numbers.of(sighting.loop)
            if earlier is None and len(self._found_there) < _NUMBERS_LOOKED_FOR:
                self._found_there[number] = self.graph.notes_of(numbers)
            elif earlier is not None and earlier[0]() is None and self._is_worth_it():
                notes = {
                    note.path: note
                    for note in self.graph.notes_of(numbers)
                    if self._is_of_this_watch(note, number)
                }
                if notes:
                    self._reused.append(_Reuse(numbers, earlier[1], info, notes))
            self._ids.pop(number, None)
            if len(self._ids) >= _IDS_KEPT:
                del self._ids[next(iter(self._ids))]  # the oldest
            with suppress(TypeError):  # a loop class without weak references
                self._ids[number] = (weakref.ref(sighting.loop), info)
        elif isinstance(sighting, PassEnded):
            reused, self._reused = self._reused, []
            for one in reused:
                yield from self._judge(one)

    def _is_of_this_watch(self, note: Note, number: int) -> bool:
        """Whether a note was made in this watch: what was there before was left by others."""
        if note.dated:
            return True
        before = self._found_there.get(number)
        return before is not None and not any(note.same_as(one) for one in before)

    def _is_worth_it(self) -> bool:
        """A search costs milliseconds; after many, where ids come again all the time, now and then.

        Code that remembers a number does so from its first loops on.
        """
        self._searches += 1
        return self._searches <= _ALWAYS or self._searches % _THEN_EVERY == 0

    def _judge(self, reuse: _Reuse) -> Iterator[Observation]:
        for note in self.graph.notes_of(reuse.numbers):
            before = reuse.notes.get(note.path)
            if before is None or not note.same_as(before) or not is_consulted(note):
                continue
            yield Observation(
                Finding(
                    RULE,
                    f"{reuse.later} has the id() of {reuse.earlier}, which is gone, and "
                    f"{note.path} went on as if nothing had changed: {reuse.later} was taken for "
                    f"{reuse.earlier}",
                    reuse.later,
                    reuse.earlier,
                    loop_births(reuse.earlier, reuse.later),
                    RULE.remedy,
                    home_state="gone",
                    owner=note.path,
                ),
                identity=note.place,
            )
