"""LS308: a context was entered in one loop, and never left or left in another.

Evidence: it was entered by a call and not by ``async with`` (`pytest_loopsafe._probes.contexts`).
Where it is left in another loop, that is an error at once: what it holds was made for the first,
and ``asyncio.run()`` has closed what was a generator there, so that its clean-up ran half. Where it
was not left and its loop is closed, it is a warning at the end of the run, if it still exists:
until then another loop may leave it.

Not judged: what a mapping has for its own loop, which is closed with that; what has nothing to be
left when its loop ends, since entering it failed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

from pytest_loopsafe._graph.own_slots import in_own_slot
from pytest_loopsafe._probes.contexts import (
    ContextEntered,
    ContextLeft,
    ContextProbe,
    is_entered,
)
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopEnding
from pytest_loopsafe._probes.tasks import TaskProbe, TaskStarted
from pytest_loopsafe._rules.base import Detector, RunEnded, loop_births
from pytest_loopsafe._rules.uses import frames_at
from pytest_loopsafe._words.answers import Place
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, stack_here

RULE = Rule(
    "LS308",
    "context-left-open",
    Severity.WARNING,
    "a context was entered in one loop and never left, or left in another",
    "Enter and leave it in one function, by `async with`, within what is given to asyncio.run(). "
    "What has to live longer belongs to a loop that lives as long: one asyncio.Runner for both.",
)


@dataclass(frozen=True)
class _Open:
    """A context that was entered; `loop` is None until its coroutine is run."""

    ref: weakref.ref[Any]
    what: str
    where: tuple[Place, ...]
    loop: LoopInfo | None
    told: bool = False


@dataclass(frozen=True)
class _Pending:
    """A coroutine that enters a context, or leaves it, once a loop runs it."""

    coroutine: weakref.ref[Any]
    key: int
    left: _Open | None


class ContextLeftOpen(Detector):
    """LS308."""

    rules = (RULE,)
    probes = (ContextProbe(), TaskProbe(), LifeProbe())
    judges = (ContextEntered, ContextLeft, TaskStarted, LoopEnding, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: dict[int, _Open] = {}
        self._pending: dict[int, _Pending] = {}

    def follow(self, elder: Self) -> None:
        """What was entered in an earlier test may be left in this one."""
        self._open = dict(elder._open)

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what is entered, and in which loop; judge where it is left, and at the end."""
        if isinstance(sighting, ContextEntered):
            loop = self.loops.of(sighting.loop) if sighting.loop is not None else None
            key, ref = id(sighting.context), weakref.ref(sighting.context)
            self._open[key] = _Open(ref, sighting.what, sighting.where, loop)
            if loop is None:
                self._wait_for(sighting.coroutine, key, None)
        elif isinstance(sighting, ContextLeft):
            one = self._open.pop(id(sighting.context), None)
            if one is None or one.ref() is not sighting.context:
                return
            if sighting.loop is not None:
                yield from self._left(one, self.loops.of(sighting.loop))
            else:
                self._wait_for(sighting.coroutine, id(sighting.context), one)
        elif isinstance(sighting, TaskStarted):
            pending = self._pending.pop(id(sighting.coroutine), None)
            if pending is not None and pending.coroutine() is sighting.coroutine:
                yield from self._begun(pending, self.loops.of(sighting.loop))
        elif isinstance(sighting, LoopEnding):
            self._forget_failed(self.loops.of(sighting.loop))
        else:
            yield from self._at_end()

    def _forget_failed(self, ending: LoopInfo) -> None:
        """Before a loop closes its generators it can be told which of them were ever entered."""
        for key, one in tuple(self._open.items()):
            context = one.ref()
            if context is None or (one.loop is ending and not is_entered(context)):
                del self._open[key]

    def _wait_for(self, coroutine: Any, key: int, left: _Open | None) -> None:
        if coroutine is not None:
            self._pending[id(coroutine)] = _Pending(weakref.ref(coroutine), key, left)

    def _begun(self, pending: _Pending, loop: LoopInfo) -> Iterator[Observation]:
        if pending.left is not None:
            yield from self._left(pending.left, loop)
        elif pending.key in self._open:
            self._open[pending.key] = replace(self._open[pending.key], loop=loop)

    def _left(self, one: _Open, loop: LoopInfo) -> Iterator[Observation]:
        if one.loop is None or one.loop is loop:
            return
        yield Observation(
            Finding(
                RULE,
                f"{one.what} was entered in {one.loop} and left in {loop}",
                loop,
                one.loop,
                (
                    Stack(f"left in {loop}", stack_here()),
                    Stack(f"entered in {one.loop}", frames_at(one.where)),
                    *loop_births(one.loop, loop),
                ),
                RULE.remedy,
            ),
            about=(one.ref(),),
            severity=Severity.ERROR,
        )

    def _at_end(self) -> Iterator[Observation]:
        self._pending = {
            key: one for key, one in self._pending.items() if one.coroutine() is not None
        }
        for key, one in tuple(self._open.items()):
            context, loop = one.ref(), one.loop
            if context is None or one.told or loop is None or not self.loops.is_closed(loop):
                continue
            if self._is_in_own_slot(context, loop):
                continue
            self._open[key] = replace(one, told=True)
            yield Observation(
                Finding(
                    RULE,
                    f"{one.what} was entered in {loop} and never left, and {loop} is closed",
                    None,
                    loop,
                    (
                        Stack(f"entered in {loop}", frames_at(one.where)),
                        *loop_births(loop),
                    ),
                    RULE.remedy,
                    home_state="closed",
                ),
                about=(context,),
            )

    def _is_in_own_slot(self, context: Any, info: LoopInfo) -> bool:
        loop = next((one for one in self.loops.alive() if self.loops.of(one) is info), None)
        if loop is None:
            return False
        return any(in_own_slot(owner.chain, loop) for owner in self.graph.owners(context))
