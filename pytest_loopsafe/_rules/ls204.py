"""LS204: a new loop was taken for an earlier one that had the same ``id()``.

``id()`` is an address, and the next loop often gets the address of the one before it. So code that
decides by ``id(loop)`` takes the new loop for the old. The schedules give some passes loops with
ids that the run has never seen, and others loops with their predecessors'. The evidence is what the
code makes and keeps in the ones and not in the others (`pytest_loopsafe._ledger.births`): no number
has to be found, in whatever form it is remembered, and no word of the code is read.

Left alone: numbers that are counted, logged or shown, for nothing is born by them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe._graph.inventory import Inventory, Known
from pytest_loopsafe._graph.numbers import Numbers
from pytest_loopsafe._graph.threads import ThreadClocks
from pytest_loopsafe._ledger.births import Births, Pass, Taken
from pytest_loopsafe._probes.births import LoopBorn
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._rules.base import Detector, PassBegun, PassEnded, RunEnded, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.naming import a
from pytest_loopsafe._words.rules import Rule, Severity

RULE = Rule(
    "LS204",
    "loop-id-reuse",
    Severity.ERROR,
    "a new loop was taken for an earlier one that had the same id()",
    "Compare the loop itself through a weak reference (`ref() is asyncio.get_running_loop()`), or "
    "key by it in a WeakKeyDictionary; id(loop) is an address, and the next loop may get it.",
)

_PASSES = 16
"""How many passes are looked at: what an ``id()`` decides is seen in the first of them, and the
watch of a worker lives for days."""

_CUT_SHORT = (
    "the user's data holds more than is looked at after each pass: what there is decided by an "
    "id() of a loop may have been missed"
)


@dataclass(frozen=True)
class _Made:
    """A loop that was made, and the last of the earlier ones with its ``id()``.

    It is new where nobody has had its ``id()``: not even a loop of an earlier test, of which the
    user's data remembers it.
    """

    loop: LoopInfo
    earlier: LoopInfo | None
    is_new: bool


class LoopIdentity(Detector):
    """LS204."""

    rules = (RULE,)
    judges = (LoopBorn, PassBegun, PassEnded, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._births = Births()
        self._known: Known | None = None
        self._clocks = ThreadClocks()
        self._had: dict[int, LoopInfo] = {}
        self._numbers: set[int] = set()
        self._before: dict[int, int | str] = {}
        self._remembered: frozenset[int | str] = frozenset()
        self._made: list[_Made] = []

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note which ids loops get; look after each pass, and judge when all have ended."""
        if isinstance(sighting, PassBegun):
            if sighting.number <= 1 and self._known is None and self.graph.numbers_are_asked_for():
                self._clocks = ThreadClocks.read()
                inventory = self._look()
                self._known, self._before = inventory.things(), inventory.numbers()
                self._remembered = frozenset(self._before.values())
        elif isinstance(sighting, LoopBorn):
            if self._known is not None:
                self._note(sighting.loop)
        elif isinstance(sighting, PassEnded):
            if self._known is not None and self._made:
                self._known = self._compare(sighting, self._known)
        else:
            yield from map(self._report, self._judge())

    def _note(self, loop: asyncio.AbstractEventLoop) -> None:
        number, info = id(loop), self.loops.of(loop)
        earlier = self._had.get(number)
        if earlier is not info:  # else a class whose __init__ calls its base's
            is_new = earlier is None and number not in self._remembered
            self._made.append(_Made(info, earlier, is_new))
            self._had[number] = info
            self._numbers |= {number, object.__hash__(loop)}

    def _look(self) -> Inventory:
        inventory = self.graph.inventory()
        if inventory.cut_short:
            self.graph.notes[_CUT_SHORT] = None
        return inventory

    def _compare(self, end: PassEnded, known: Known) -> Known | None:
        """Compare what there is after a pass with what there was before it."""
        made, self._made = self._made, []
        keys = {one.loop.pass_key for one in made}
        # Of several loops in one pass each may have met another state of the code: undecided.
        is_new = None
        if len(made) == 1 and made[0].is_new:
            is_new = True
        elif len(made) == 1 and made[0].earlier is not None:
            is_new = False
        loops = tuple((one.loop, one.earlier) for one in made)
        before, self._clocks = self._clocks, ThreadClocks.read()
        inventory = self._look()
        alone = ThreadClocks.read().is_as(before)
        self._births.add(
            Pass(end.number, keys.pop(), loops, is_new, end.failed, alone),
            known,
            inventory,
            Numbers(frozenset(self._numbers), self._before),
        )
        if inventory.cut_short:
            self.graph.notes[_CUT_SHORT] = None
        return inventory.things() if len(self._births.passes) < _PASSES else None

    def _judge(self) -> Iterator[Taken]:
        """What is sure; of the rest a note says that another pass would tell."""
        births, self._births = self._births, Births()
        for taken in births.verdicts():
            if taken.sure:
                yield taken
            else:
                self.graph.notes[
                    f"whether {taken.path} is decided by a loop's id() cannot be told from so few "
                    "loops, or beside threads that work: four or six, and none beside, would tell"
                ] = None

    def _report(self, taken: Taken) -> Observation:
        later, earlier = taken.reused.loops[0]
        born = [str(loop) for one in taken.born for loop, _ in one.loops]
        new = "whose ids were new" if len(born) > 1 else "whose id was new"
        memory = f": {taken.memory} was left as it was" if taken.memory is not None else ""
        return Observation(
            Finding(
                RULE,
                f"{later} has the id() of {earlier}, which is gone, and was taken for it: "
                f"{taken.path} ({a(taken.kind)}) was made in {_listed(born)}, {new}, "
                f"and not in {later}{memory}",
                later,
                earlier,
                loop_births(earlier, later),
                RULE.remedy,
                home_state="gone",
                owner=taken.memory or taken.path,
            ),
            identity=taken.place,
        )


def _listed(names: list[str]) -> str:
    """``loop 1, loop 2 and loop 4``."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
