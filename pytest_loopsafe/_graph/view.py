"""What detectors ask of the heap: who holds an object, what is bound to a loop."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import (
    CellType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any

from pytest_loopsafe._adapters import Adapters
from pytest_loopsafe._graph import bindings, guards, links, notes
from pytest_loopsafe._graph.freezing import HEAP
from pytest_loopsafe._graph.guards import Starter
from pytest_loopsafe._graph.kinds import is_a, module_of
from pytest_loopsafe._graph.notes import Note, Numbers
from pytest_loopsafe._graph.owners import Owner, Owners, OwnerSearch
from pytest_loopsafe._words.loops import LoopRegistry
from pytest_loopsafe._words.stacks import local_variables

_RUNNING = (FrameType, CoroutineType, GeneratorType, MethodType, CellType)
"""What refers to an object for as long as some code runs."""


class HeapView:
    """Searches of the heap for one watch. The heap is thawed first, so that nothing is missed.

    Args:
        loops: the watch's loops, for the names of keys.
        subjects: the function under test and what it is given, each with its name: what they
            hold is owned.
        adapters: what is known of libraries' clients.
    """

    def __init__(
        self,
        loops: LoopRegistry,
        subjects: Iterable[tuple[Any, str]] = (),
        adapters: Adapters | None = None,
    ) -> None:
        self._loops = loops
        self._subjects = tuple(subjects)
        self.adapters = adapters if adapters is not None else Adapters()
        self.notes: dict[str, None] = {}
        self._told: weakref.WeakSet[Any] = weakref.WeakSet()
        self._of_thread = threading.local()
        self._searched = 0.0
        self._searching_since: float | None = None

    def owners(self, *things: Any, ignore: Iterable[object] = ()) -> tuple[Owner, ...]:
        """Who holds any of these, the user's own code first. A search costs milliseconds."""
        self._searching_since = time.monotonic()
        search: OwnerSearch | None = getattr(self._of_thread, "search", None)
        if search is None:
            search = OwnerSearch(self._loops.named, self._subjects, thaw=self._thaw)
            self._of_thread.search = search
        owners: Owners = search.owners(*things, ignore=(things, *ignore))
        if owners.stopped:
            self._note(owners.stopped)
        self._searched, self._searching_since = self.seconds(), None
        return owners.found

    def moves_on(self) -> None:
        """The code under test runs on in this thread: what searches have learned is outdated.

        Between two searches for one sighting nothing runs, and the second is spared the work.
        """
        self._of_thread.search = None

    def _thaw(self) -> None:
        if not HEAP.thaw():
            self._note("a part of the heap was frozen with gc.freeze(): owners there are not seen")

    def seconds(self) -> float:
        """How long all searches took so far, also one that is under way.

        It is time that the code under test did not use.
        """
        since = self._searching_since
        return self._searched + (time.monotonic() - since if since is not None else 0.0)

    def path(self, things: tuple[Any, ...]) -> str | None:
        """The path to the first of these that anybody holds, for a report."""
        for thing in things:
            if gc.is_tracked(thing):
                found = self.owners(thing, ignore=(things,))
                if found:
                    return found[0].path
        return None

    def single_path(self, thing: Any) -> str | None:
        """The path by which one of the user's globals stands for an object; None where none does.

        An entry among others (``clients[0]``, a key) is a record of it, and stands for nothing.
        """
        for owner in self.owners(thing):
            if owner.own and not owner.hidden and "[" not in owner.path:
                return owner.path
        return None

    def guard_of(self, chain: Sequence[Starter]) -> str | None:
        """What tells these functions that they have done their work already."""
        HEAP.thaw()
        return guards.guard_of(chain, self.single_path)

    def tell(self, things: Iterable[Any]) -> None:
        """Note that a finding is about these: what is bound to a loop is then no second one."""
        for thing in things:
            with suppress(TypeError):  # a class without weak references
                self._told.add(thing)

    def is_told(self, thing: Any) -> bool:
        """Whether a finding is about this very object."""
        try:
            return thing in self._told
        except TypeError:
            return False

    def notes_of(self, numbers: Numbers) -> list[Note]:
        """Where the code under test remembers a loop by its ``id()`` or its hash."""
        return list(notes.find(numbers, self._subjects, self._loops.named))

    def made_since(self, address: int) -> bool:
        """Whether what is at an address was made in this watch; True where nobody can tell."""
        return HEAP.made_since(address)

    def is_kept(self, thing: Any) -> bool:
        """Whether any object or container refers to it, and not running code alone."""
        HEAP.thaw()
        return any(
            not is_a(one, _RUNNING) and not module_of(type(one)).startswith("pytest_loopsafe")
            for one in gc.get_referrers(thing)
        )

    def is_in_place_of(self, new: Any, old: Any) -> bool:
        """Whether what is kept under a key is kept under one that the holders of `old` know.

        True where it is not kept under a key.
        """
        keys = [
            key
            for one in gc.get_referrers(new)
            if type(one) is dict and not _is_namespace(one)
            for key, value in one.copy().items()
            if value is new
        ]
        known = [
            value
            for one in gc.get_referrers(old)
            if is_a(one, CoroutineType) and one.cr_frame is not None
            for value in local_variables(one.cr_frame).values()
        ]
        plain = (str, bytes, int)
        return not keys or any(
            key is value or (type(key) in plain and type(value) in plain and key == value)
            for key in keys
            for value in known
        )

    def bound_to(self, loop: asyncio.AbstractEventLoop) -> tuple[list[Any], list[Any]]:
        """What is bound to this loop and may matter to another.

        Returns:
            What is open, pending or unclosed; and primitives at rest, for what they are a part of
            may be open.
        """
        HEAP.thaw()
        found = bindings.bound_to(loop, self.adapters.is_closed)
        return (
            [one.thing for one in found if one.live],
            [one.thing for one in found if bindings.is_idle_primitive(one)],
        )

    def is_stale(self, chain: Sequence[Any]) -> bool:
        """Whether the last object of an owner's chain matters, by what it is a part of.

        What is in something closed is closed with it. A primitive at rest, such as a pool's queue
        whose workers died with their loop, matters where the library says that the pool is open.
        """
        thing = chain[-1]
        if is_a(thing, asyncio.TimerHandle) and any(
            is_a(one, list | tuple | deque | set) for one in chain
        ):
            return False  # a record of what was set
        answers = [self.adapters.is_closed(one) for one in chain[:-1]]
        binding = bindings.binding_of(thing, self.adapters.is_closed)
        if binding is not None and bindings.is_idle_primitive(binding):
            return False in answers and True not in answers
        return bindings.speaks_for_itself(thing) or True not in answers

    def dead_loops(self) -> list[asyncio.AbstractEventLoop]:
        """The closed loops of this watch that still exist, oldest first."""
        dead = [
            loop
            for loop in self._loops.alive()
            if loop.is_closed() and self._loops.of(loop).number > 0
        ]
        return sorted(dead, key=lambda loop: self._loops.of(loop).number)

    def collect(self) -> None:
        """Let go of what is garbage, where anything hangs on: a dead loop that still exists."""
        if self.dead_loops():
            gc.collect()

    def _note(self, text: str) -> None:
        self.notes[text] = None


def _is_namespace(names: dict[Any, Any]) -> bool:
    """Whether a dictionary is an object's or a module's own, and not one of entries."""
    return any(
        links.own_dict(one) is names or getattr(one, "__globals__", None) is names
        for one in gc.get_referrers(names)
        if is_a(one, FunctionType | ModuleType) or links.own_dict(one) is names
    )


def in_own_slot(chain: tuple[Any, ...], loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a path leads through a mapping's entry for this very loop.

    Such an entry is no use to other loops: they have entries of their own. The key may be the
    loop, a weak reference to it, its ``id()``, or a tuple with one of these.
    """
    for holder, held in itertools.pairwise(chain):
        if is_a(holder, dict):
            for key, value in dict.copy(holder).items():
                if value is held and is_key_of(key, loop):
                    return True
    return False


def is_key_of(key: Any, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a mapping's key stands for a loop."""
    if type(key) is tuple:
        return any(is_key_of(part, loop) for part in key)
    if is_a(key, weakref.ref):
        return key() is loop
    return key is loop or (type(key) is int and key == id(loop))


def parts_of(subject: Any) -> Iterable[tuple[Any, str]]:
    """The function under test and what it was given, each with a name."""
    func = getattr(subject, "func", subject)
    name = getattr(func, "__qualname__", type(func).__qualname__)
    yield func, name
    if hasattr(func, "__self__"):
        yield func.__func__, name
        yield func.__self__, f"{name}.__self__"
    for index, value in enumerate(getattr(subject, "args", ())):
        yield value, f"<argument {index + 1} of {name}()>"
    for key, value in getattr(subject, "keywords", {}).items():
        yield value, f"<argument {key!r} of {name}()>"
