"""The protocol between a watch and its detectors, and the words that all of them use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.view import Graph
from pytest_loopsafe._ledger.ledger import Ledger
from pytest_loopsafe._probes.instrumentation import Probe, Sighting
from pytest_loopsafe._words.findings import Observation
from pytest_loopsafe._words.loops import LoopInfo, LoopRegistry, state_of
from pytest_loopsafe._words.rules import Rule
from pytest_loopsafe._words.stacks import Stack, summary_frames


@dataclass(frozen=True)
class PassBegun(Sighting):
    """A pass is about to begin: nothing of it runs yet. `number` is its number."""

    number: int


@dataclass(frozen=True)
class PassEnded(Sighting):
    """A pass has ended, and what it left behind can be looked at.

    Attributes:
        number: its number.
        failed: whether an error left it.
    """

    number: int
    failed: bool = False


@dataclass(frozen=True)
class RunEnded(Sighting):
    """The last pass has ended, and so has what the schedule held for all of them."""


class Detector:
    """Watches one family of hazards while a watch is armed.

    A detector lives as long as its watch. It declares what it reports (`rules`), what it needs
    to see (`probes`) and which sightings it judges (`judges`). A detector that raises is taken
    out with a warning: a fault of ours must never become a fault of the test.
    """

    rules: ClassVar[tuple[Rule, ...]] = ()
    probes: ClassVar[tuple[Probe, ...]] = ()
    judges: ClassVar[tuple[type[Sighting], ...]] = ()

    def __init__(self, loops: LoopRegistry, graph: Graph, ledger: Ledger) -> None:
        self.loops = loops
        self.graph = graph
        self.ledger = ledger
        self.waits = False
        """Whether a verdict waits for the end of who goes on, though no more may be seen of it."""

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Judge one sighting at the moment it happens, in the thread where it happens."""
        return iter(())

    def follow(self, elder: Self) -> None:
        """Go on from the detector of the watch before: loops that it saw may still be open."""
        return

    def close(self) -> None:
        """Give back what is held of the interpreter: no more will be seen."""
        return

    def forked(self) -> None:
        """Go on in a forked child: locks have to be made anew, a thread may have held them."""
        return


def where_made(thing: Any, title: str) -> tuple[Stack, ...]:
    """The stack that made a future or task, where asyncio's debug mode kept it."""
    frames = summary_frames(_cpython.source_traceback(thing))
    return (Stack(title, frames),) if frames else ()


def loop_births(*infos: LoopInfo | None) -> tuple[Stack, ...]:
    """Where each loop was made, as far as that was seen."""
    return tuple(
        Stack(f"{info} was made", info.created)
        for info in infos
        if info is not None and info.created
    )


def home_advice(home: asyncio.AbstractEventLoop) -> str:
    """What to do about an object of another loop, by what became of that loop."""
    state = state_of(home)
    if state == "running":
        return (
            "That loop runs in another thread: hand the work to it with "
            "asyncio.run_coroutine_threadsafe(coro, loop), and await the result through "
            "asyncio.wrap_future()."
        )
    if state == "paused":
        return (
            "That loop is open, but nobody runs it now, so nothing of it can complete. Make the "
            "object in the loop that uses it, or run all of this code in the one loop."
        )
    return (
        "Make what it belongs to (client, pool, task) inside the loop that uses it, and close it "
        "there before that loop ends: `async with` within the function given to asyncio.run()."
    )
