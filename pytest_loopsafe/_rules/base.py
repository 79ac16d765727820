"""The protocol between a watch and its detectors, and the words that all of them use."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.view import Graph
from pytest_loopsafe._probes.instrumentation import Probe, Sighting
from pytest_loopsafe._words.findings import Observation
from pytest_loopsafe._words.loops import LoopInfo, LoopRegistry, state_of
from pytest_loopsafe._words.rules import Rule
from pytest_loopsafe._words.stacks import Stack, summary_frames


@dataclass(frozen=True)
class PassEnded(Sighting):
    """A pass has ended, and what it left behind can be looked at. `number` is its number."""

    number: int


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

    def __init__(self, loops: LoopRegistry, graph: Graph) -> None:
        self.loops = loops
        self.graph = graph

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Judge one sighting at the moment it happens, in the thread where it happens."""
        return iter(())

    def forked(self) -> None:
        """Go on in a forked child: locks have to be made anew, a thread may have held them."""
        return


class TaskLife:
    """A task that builds something, and which other tasks lived at that moment.

    What such a task builds later was wanted at the same time: it lived before there was a first.
    """

    def __init__(self, task: Any) -> None:
        self._task = weakref.ref(task) if task is not None else None
        self._alongside: weakref.WeakSet[Any] = weakref.WeakSet()
        self.overlaps = False

    def is_of(self, task: Any) -> bool:
        """Whether it is the life of this task."""
        return task is not None and self._task is not None and self._task() is task

    def meet(self, earlier: Iterable[TaskLife]) -> None:
        """Compare it with those that have built the like in the same loop, the first ones first."""
        task = self._task() if self._task is not None else None
        if task is None:
            return
        rivals = list(itertools.islice(earlier, _RIVALS))
        self.overlaps = any(task in one._alongside and not one.is_of(task) for one in rivals)
        if len(rivals) < _RIVALS:
            self._alongside = weakref.WeakSet(asyncio.all_tasks(task.get_loop()))


_RIVALS = 8
"""Of so many the tasks alongside are kept: a race has few, and a server many tasks."""


def name_loop(info: LoopInfo | None, state: str | None = None) -> str:
    """``loop 1 (closed)``; ``no loop`` for sync code."""
    if info is None:
        return "no running loop"
    return f"{info} ({state})" if state else str(info)


def name_future(future: Any) -> str:
    """``task 'Task-3' of worker()`` or ``a Future``, without calling anybody's ``repr``."""
    if isinstance(future, asyncio.Task):
        return f"task {future.get_name()!r} of {name_coroutine(future)}"
    kind = type(future).__name__
    if kind == "_GatheringFuture":
        return "the future of a gather()"
    return a(kind)


def name_coroutine(task: Any) -> str:
    """The qualified name of what a task runs."""
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", None) or type(coroutine).__name__
    return f"{name}()"


def name_primitive(primitive: Any) -> str:
    """``Lock``, ``BoundedSemaphore``: the class the user wrote."""
    return type(primitive).__qualname__


def a(name: str) -> str:
    """``a Lock``, ``an Event``."""
    return f"a{'n' if name[:1] in 'AEIOU' else ''} {name}"


def name_thing(thing: Any) -> str:
    """``redis.asyncio.connection.Connection``; futures and primitives by what they are."""
    if asyncio.isfuture(thing):
        return name_future(thing)
    kind = type(thing)
    if kind.__module__.partition(".")[0] == "asyncio":
        name = kind.__qualname__
        if isinstance(thing, asyncio.BaseTransport):
            peer = thing.get_extra_info("peername") or thing.get_extra_info("sockname")
            return f"an open transport{f' to {_address(peer)}' if peer else ''} ({name})"
        return a(name)
    return (
        f"{'an' if kind.__module__[:1] in 'aeiou' else 'a'} {kind.__module__}.{kind.__qualname__}"
    )


def _address(peer: Any) -> str:
    return ":".join(str(part) for part in peer[:2]) if isinstance(peer, tuple) else str(peer)


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
