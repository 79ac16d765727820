"""LS208: a lock or limit was replaced while it was held or waited on.

Whoever holds the old one and whoever takes the new one are inside at the same time, and nothing
raises. It is told when the new one is first used while the old one is still in use and nobody but
its holders reaches it any more.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.primitives import GateProbe, GateRemade, PrimitiveUsed, UseProbe
from pytest_loopsafe._rules.base import Detector, PassEnded, a, name_primitive
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, stack_here

RULE = Rule(
    "LS208",
    "replaced-while-held",
    Severity.ERROR,
    "a lock, semaphore or condition was replaced while it was held or waited on",
    "Make it once for each loop and keep it: look it up in a WeakKeyDictionary keyed by the "
    "running loop, and never replace one that is locked.",
)

_MAX_SEARCHES = 5
"""For each place: a search costs milliseconds, and a place that replaces does so again."""


@dataclass(frozen=True)
class _Remade:
    old: weakref.ref[Any]
    new: weakref.ref[Any]
    frames: tuple[Frame, ...]


class ReplacedGates(Detector):
    """LS208."""

    rules = (RULE,)
    probes = (GateProbe(), UseProbe())
    judges = (GateRemade, PrimitiveUsed, PassEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._candidates: list[_Remade] = []
        self._searches: Counter[object] = Counter()

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what is made where another is in use; judge when the new one is used."""
        if isinstance(sighting, GateRemade):
            frames = stack_here()
            site = Stack("", frames).site
            self._searches[site] += 1
            if self._searches[site] <= _MAX_SEARCHES:
                old, new = weakref.ref(sighting.old), weakref.ref(sighting.new)
                self._candidates.append(_Remade(old, new, frames))
        elif isinstance(sighting, PrimitiveUsed):
            for one in [one for one in self._candidates if one.new() is sighting.primitive]:
                self._candidates.remove(one)
                gate = one.old()
                if gate is not None and self._was_replaced(gate, sighting.primitive):
                    yield self._found(one, sighting.primitive)
                    return
        elif isinstance(sighting, PassEnded):
            self._candidates.clear()

    def _was_replaced(self, old: Any, new: Any) -> bool:
        """Whether the old one is in use and nobody keeps it, while somebody keeps the new one.

        The same line of code made both, so it had put the old one where the new one is now. Locks
        that are local variables are in nobody's keeping, neither of them; those of objects are in
        their object's, both of them; and a weak dictionary leads everybody to the old one. Under a
        key, the new one is in the old one's place only if those inside the old one have that key.
        """
        return (
            _cpython.in_use(old)
            and not any(isinstance(ref, weakref.KeyedRef) for ref in weakref.getweakrefs(old))
            and not self.graph.is_kept(old)
            and self.graph.is_kept(new)
            and self.graph.is_in_place_of(new, old)
        )

    def _found(self, remade: _Remade, new: Any) -> Observation:
        running = _cpython.get_running_loop()
        here = self.loops.of(running) if running is not None else None
        return Observation(
            Finding(
                RULE,
                f"{a(name_primitive(new))} was replaced by another while it was held or waited on, "
                "and the new one is taken now: what they guard is no longer exclusive",
                here,
                None,
                (
                    Stack("the new one was made here", remade.frames),
                    Stack("and is used here", stack_here()),
                ),
                RULE.remedy,
            ),
            about=(new,),
        )
