"""What is asked of the object graph when a pass rests: who holds what, what is bound to a loop.

While code runs nothing is searched. What will be asked at rest is noted as a clue: weak references
to the object and to those whose methods were at it, and where the last rest has seen it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._adapters import Adapters
from pytest_loopsafe._graph import bindings, links
from pytest_loopsafe._graph.inventory import Inventory
from pytest_loopsafe._graph.kinds import class_name, instances_of, is_a
from pytest_loopsafe._graph.owners import Owner, OwnerSearch
from pytest_loopsafe._graph.roots import ask_for_numbers, users_roots
from pytest_loopsafe._graph.walk import Walk
from pytest_loopsafe._words.findings import Clue, Known, Observation
from pytest_loopsafe._words.loops import LoopRegistry
from pytest_loopsafe._words.stacks import users_here

_LOOKED_AT = 2
_MOST_LOOKED_AT = 50
"""So much of what a dead loop has left is looked for in the user's globals."""

_FROZEN = (
    "a part of the heap was frozen with gc.freeze(), and somebody there may hold what no owner was "
    "found of"
)


class Graph:
    """Questions to the object graph for one watch.

    Args:
        loops: the watch's loops, for the names of keys.
        subjects: the function under test and what it is given, each with its name: what they
            hold is owned.
        adapters: what is known of libraries' clients.
        advice: what to do about a subject, by its name, beside what a rule advises.
    """

    def __init__(
        self,
        loops: LoopRegistry,
        subjects: Iterable[tuple[Any, str]] = (),
        adapters: Adapters | None = None,
        advice: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._loops = loops
        self._subjects = tuple(subjects)
        self.adapters = adapters if adapters is not None else Adapters()
        self.notes: dict[str, None] = {}
        self._told: dict[int, weakref.ref[Any]] = {}
        self._told_places: set[str] = set()
        self._known_at: dict[str, Known] = {}
        self._advice = advice
        self._seen_at: dict[int, tuple[weakref.ref[Any], str]] = {}
        self._of_thread = threading.local()

    # -- rest ------------------------------------------------------------------------------

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Nothing of the code under test runs in this block: what one search learns, others use."""
        self._of_thread.rests = True
        try:
            yield
        finally:
            self._of_thread.rests, self._of_thread.search = False, None
            self._told = {key: ref for key, ref in self._told.items() if ref() is not None}

    def _search(self) -> OwnerSearch:
        """The search of this rest, made for the first question: most rests have none."""
        search: OwnerSearch | None = getattr(self._of_thread, "search", None)
        if search is None:
            search = OwnerSearch(self._loops.named, self._subjects)
            if getattr(self._of_thread, "rests", False):
                self._of_thread.search = search
        return search

    def inventory(self) -> Inventory:
        """What the user's data holds."""
        return Inventory(users_roots(self._subjects), self._loops.named)

    def numbers_are_asked_for(self) -> bool:
        """Whether any of the user's code may ask for a loop's ``id()`` or hash."""
        return ask_for_numbers(self._subjects)

    def owners(
        self, *things: Any, ignore: Iterable[object] = (), thorough: bool = True
    ) -> tuple[Owner, ...]:
        """Who holds any of these, the user's own code first.

        Args:
            *things: what to look for.
            ignore: containers of the caller's that refer to them.
            thorough: whether to read the whole heap where the user's own globals hold none.
        """
        search = self._search()
        found = search.owners(*things, ignore=(things, *ignore), thorough=thorough)
        if found.stopped:
            self.notes[found.stopped] = None
        if thorough and not found.found and _is_frozen():
            self.notes[_FROZEN] = None  # one who holds it may be there
        for owner in found.found:
            self._remember(owner.chain[-1], self.readable(owner))
        return found.found

    def path(self, things: Iterable[Any], *, thorough: bool = True) -> str | None:
        """The path to the first of these that anybody holds, for a report.

        None rather than one that leads through what has no name.

        Args:
            things: what to look for.
            thorough: see `owners`.
        """
        for thing in things:
            if gc.is_tracked(thing):
                for owner in self.owners(thing, ignore=(things,), thorough=thorough):
                    # A bare thread, which runs what it was given, is nobody's for being listed.
                    is_listed = type(thing) is threading.Thread and not owner.own
                    path = None if owner.hidden or is_listed else self.named(owner)
                    if path is not None:
                        return path
        return None

    def single_path(self, thing: Any) -> str | None:
        """The path by which one of the user's globals stands for an object; None where none does.

        An entry among others (``clients[0]``, a key) is a record of it, and stands for nothing.
        """
        for owner in self.owners(thing):
            if owner.own and not owner.hidden and "[" not in owner.path:
                return owner.path
        return None

    def is_kept(self, thing: Any) -> bool:
        """Whether one of the user's globals reaches an object."""
        return any(owner.own and not owner.hidden for owner in self.owners(thing))

    def readable(self, owner: Owner) -> str:
        """A path that ends at what its reader knows: the client, not a buffer deep within it."""
        for end, part in enumerate(owner.chain if not owner.hidden else (), start=1):
            adapter = self.adapters.of(part)
            known = adapter is not None and (adapter.closers or adapter.remedy)
            if adapter is not None and known and (end > 1 or owner.subject):
                path = links.write(owner.chain[:end], owner.start, self._loops.named)
                self._known_at[path] = Known(class_name(part), adapter.remedy)
                return path
        self._known_at.setdefault(owner.path, Known(class_name(owner.chain[-1])))
        return owner.path

    def named(self, owner: Owner) -> str | None:
        """The same, or None where it leads through what has no name."""
        path = self.readable(owner)
        return None if links.UNNAMED in path else path

    def known_of(self, path: str) -> Known:
        """What is known of what is at a path: advice for a subject, and of a client's library."""
        known = self._known_at.get(path, Known())
        if not known.advice:  # a client's own task, deep within it: its library's advice holds
            clients = (text for name, text in self._known_at.items() if path.startswith(f"{name}."))
            known = replace(known, advice=next((one.advice for one in clients if one.advice), ""))
        advice = [text for name, text in self._advice.items() if path.startswith(name)]
        return Known(known.kind, " ".join((*advice, known.advice)).rstrip())

    # -- clues -----------------------------------------------------------------------------

    def clue(self, observation: Observation) -> Clue:
        """At the moment of a hazard: what to look for at rest. It searches nothing."""
        users = observation.users
        if users is None:  # at rest nobody is at work
            users = () if getattr(self._of_thread, "rests", False) else users_here()
        # The loop, whose method refused: it is held by whoever belongs to it, and by others.
        users = tuple(one for one in users if not is_a(one, asyncio.AbstractEventLoop))
        seen_at = next((path for one in observation.about if (path := self._known(one))), None)
        return Clue(tuple(_weak(observation.about)), tuple(_weak(users)), seen_at)

    def locate(self, clue: Clue, *, thorough: bool) -> str | None:
        """At rest: the path to what a clue leads to.

        The object itself, where it lives and is held; where it was when it was last seen; or the
        nearest of those who used it that a global holds.

        Args:
            clue: leads to it.
            thorough: see `owners`.
        """
        alive = [thing for ref in clue.things if (thing := ref()) is not None]
        found = self.path(alive, thorough=thorough)
        if found is not None or clue.seen_at is not None:
            return found or clue.seen_at
        users = [user for ref in clue.users if (user := ref()) is not None]
        known = [user for user in users if self.adapters.of(user) is not None]
        return self.path((*known, *users), thorough=thorough)

    def _remember(self, thing: Any, path: str) -> None:
        key = id(thing)
        with suppress(TypeError):
            self._seen_at[key] = (weakref.ref(thing, lambda _: self._seen_at.pop(key, None)), path)

    def _known(self, thing: Any) -> str | None:
        entry = self._seen_at.get(id(thing))
        return entry[1] if entry is not None and entry[0]() is thing else None

    def tell_of(self, place: str) -> None:
        """Note that a finding is about what is held at a place."""
        self._told_places.add(place)

    def is_told_of(self, place: str) -> bool:
        """Whether a finding is about what is held there."""
        return place in self._told_places

    def tell(self, things: Iterable[Any]) -> None:
        """Note that a finding is about these: what is bound to a loop is then no second one."""
        for ref in _weak(things):  # by address: a set would ask for the hash of somebody's class
            self._told[id(ref())] = ref

    def is_told(self, thing: Any) -> bool:
        """Whether a finding is about this very object."""
        ref = self._told.get(id(thing))
        return ref is not None and ref() is thing

    # -- loops -----------------------------------------------------------------------------

    def bound_to(
        self, loop: asyncio.AbstractEventLoop, *, thorough: bool
    ) -> tuple[list[Any], list[Any]]:
        """What is bound to this loop and may matter to another.

        Args:
            loop: a dead loop.
            thorough: whether to read the whole heap, and not only what the user's globals reach.

        Returns:
            What is open, pending or unclosed; and primitives at rest, for what they are a part of
            may be open.
        """
        search = self._search()

        def referrers(thing: Any) -> list[Any]:
            return search.referrers(thing, read=thorough)

        found = bindings.bound_to(loop, referrers, self.adapters.is_closed)
        return (
            [one.thing for one in found if one.live],
            [one.thing for one in found if bindings.is_idle_primitive(one)],
        )

    def look_around(self) -> None:
        """Remember where that is which the last dead loops have left, for clues to come.

        A later loop may use it, fail, and let it go: by the next rest nobody has it any more.
        """
        for loop in self.dead_loops()[-_LOOKED_AT:]:
            live, _ = self.bound_to(loop, thorough=False)
            for thing in live[:_MOST_LOOKED_AT]:
                self.owners(thing, ignore=(live,), thorough=False)

    def is_stale(self, chain: Sequence[Any]) -> bool:
        """Whether the last object of an owner's chain matters, by what it is a part of.

        What is in something closed is closed with it. A primitive at rest, such as a pool's queue
        whose workers died with their loop, matters where the library says that the pool is open.
        """
        thing = chain[-1]
        if is_a(thing, asyncio.TimerHandle) and (
            any(is_a(one, list | tuple | deque | set) for one in chain)
            or getattr(_cpython.timer_callback(thing), "__self__", None) is chain[-2]
        ):
            return False  # a record of what was set, or one that would only take itself away
        if not is_a(thing, asyncio.Task) and any(
            is_a(one, concurrent.futures.Future) for one in chain[:-1]
        ):
            return False  # where a job of an executor would leave its answer: nobody else has it
        if any(map(bindings.is_over, chain[:-1])):
            return False  # a process that has exited never had to wait for its input's end, say
        answers = [self.adapters.is_closed(one) for one in chain[:-1]]
        binding = bindings.binding_of(thing, self.adapters.is_closed)
        if binding is not None and bindings.is_idle_primitive(binding):
            return False in answers and True not in answers
        return bindings.speaks_for_itself(thing) or True not in answers

    def other_user(
        self, chain: Sequence[Any], loop: asyncio.AbstractEventLoop
    ) -> asyncio.AbstractEventLoop | None:
        """A loop that has things of its own in the client that an owner's chain leads through.

        It is one client, not several in a container: what is known of its library says so.
        """
        client = next((one for one in chain if self.adapters.of(one) is not None), None)
        if client is None:
            return None
        found = (
            one.loop
            for one, _ in bindings.bindings_within(client, self.adapters.is_closed)
            if one.loop is not loop
        )
        return next(found, None)

    def dead_loops(self) -> list[asyncio.AbstractEventLoop]:
        """The closed loops of this watch that still exist, oldest first."""
        dead = [
            loop
            for loop in self._loops.alive()
            if loop.is_closed() and not self._loops.is_earlier(self._loops.of(loop))
        ]
        return sorted(dead, key=lambda loop: self._loops.of(loop).number)

    def may_be_stale(self) -> bool:
        """Whether there is a dead loop that others came after or beside: only such are judged."""
        infos = [self._loops.of(loop) for loop in self.dead_loops()]
        return len(infos) > 1 or any(
            self._loops.rerun_since(info) is not None or self._loops.lived_beside(info)
            for info in infos
        )

    def collect(self, *, whole: bool) -> None:
        """Let go of what is garbage, where anything hangs on: a dead loop that still exists.

        Most loops are freed by reference counts alone, nearly all others by a collection of what is
        young (0.04 ms, whatever the heap). Only at the end of the run, once, the whole heap is
        collected. Never while the code under test has the collector switched off.
        """
        for generation in (0, 1, 2) if whole else (0, 1):
            if not gc.isenabled() or not self.dead_loops():
                return
            gc.collect(generation)


def _is_frozen() -> bool:
    """CPython 3.12 counts its immortal objects as frozen, some hundreds; a user's are never so few.

    Measured: 375 at the start of 3.12.1, 0 of 3.11.7 and 3.13.0.
    """
    return gc.get_freeze_count() > (2_000 if sys.version_info[:2] == (3, 12) else 0)


def _weak(things: Iterable[Any]) -> Iterator[weakref.ref[Any]]:
    for thing in things:
        with suppress(TypeError):  # a class without weak references
            yield weakref.ref(thing)


def all_loops() -> list[asyncio.AbstractEventLoop]:
    """Every event loop that there is in this process, whoever made it; reads the whole heap.

    Of what was frozen (a worker's main process may do so before it forks) the collector shows
    nothing: there it is those that the user's globals reach.
    """
    found = instances_of(asyncio.AbstractEventLoop, gc.get_objects())
    if _is_frozen():
        for level in Walk(root for root, _ in users_roots(())).levels:
            found += instances_of(asyncio.AbstractEventLoop, gc.get_referents(*level))
    return list({id(loop): loop for loop in found}.values())
