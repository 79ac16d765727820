"""What the user's data holds at a rest, and what of it was not there at the rest before.

Code that has made something for a loop keeps it: in a global, an attribute, a dictionary's entry, a
closure's cell, the result of a cached function. Where it is kept is its slot, by the names and keys
that lead there. What arrives in which slots, pass by pass, tells what the code makes anew in which
loops; of the code itself nothing has to be known.
"""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import CellType, FunctionType
from typing import Any

from pytest_loopsafe._graph import links
from pytest_loopsafe._graph.kinds import is_a, is_plain_local, module_of
from pytest_loopsafe._graph.numbers import How, Memory, Numbers, may_be_one
from pytest_loopsafe._graph.things import CONTAINERS, PLAIN, is_thing, may_be_thing
from pytest_loopsafe._graph.walk import Walk

Slot = tuple[object, ...]
"""The steps that lead to a thing: a root's name, then names and plain keys; ``...`` for the others,
such as a place in a list."""

Known = dict[int, weakref.ref[Any] | None]
"""Things by ``id()``; with a weak reference where the class has them."""

MAX_ARRIVALS = 2_000
"""How many arrivals of one pass are looked at, the nearest to a global first."""

_MAX_ENTRIES = 1_000
_MAX_PARTS = 100


@dataclass(frozen=True)
class Arrival:
    """A thing that was in no slot at the rest before. `thing` is for the moment only.

    Attributes:
        slot: where it is.
        kind: its class, by name.
        path: the slot as Python.
        thing: the thing itself.
    """

    slot: Slot
    kind: str
    path: str
    thing: Any


def weak(thing: Any) -> weakref.ref[Any] | None:
    """A weak reference, where the class has them."""
    try:
        return weakref.ref(thing)
    except TypeError:
        return None


class Inventory:
    """All things that the user's data holds, for the moment of a rest.

    Args:
        roots: what lives of itself, and its name.
        name_loop: names loops that are keys.
    """

    def __init__(self, roots: Sequence[tuple[Any, str]], name_loop: links.NameLoop) -> None:
        self._roots = {id(one): name for one, name in roots}
        self._walk = Walk(one for one, _ in roots)
        self._name_loop = name_loop
        self._kinds: dict[type, bool] = {}
        self._things = {id(one): one for one in self._walk if self._may_be_thing(type(one))}
        self._holders: dict[int, list[Any]] = {}
        self._parents: dict[int, Any] = {}
        self._names: dict[int, dict[int, tuple[object, str]]] = {}
        self._numbered: dict[int, list[Memory]] = {}
        self.cut_short = self._walk.cut_short

    def things(self) -> Known:
        """All of them, to compare a later inventory with."""
        return {key: weak(one) for key, one in self._things.items()}

    def numbers(self) -> dict[int, int | str]:
        """All values that may be addresses: plain data, which may be kept."""
        texts_and_numbers = {
            id(one): one
            for level in self._walk.levels
            for one in gc.get_referents(*level)
            if type(one) is str or type(one) is int
        }
        return {key: one for key, one in texts_and_numbers.items() if may_be_one(one)}

    def thing(self, key: int, ref: weakref.ref[Any] | None) -> Any:
        """One of them by its ``id()``; None where it is no more, or in no slot any more."""
        found = self._things.get(key)
        return found if ref is None or ref() is found else None

    def arrivals(self, known: Known, followed: Iterable[Any]) -> list[Arrival]:
        """What was not known, where it is held by something that was.

        What is within a new thing came with that.

        Args:
            known: what was there before.
            followed: things whose memories will be asked for, besides those of what is new.
        """
        records: dict[int, bool] = {}
        new = {
            key: one
            for key, one in self._things.items()
            if not _is_known(one, known) and is_thing(one, records)
        }
        # All at once, and before any name is looked for: to read an object's attributes may give it
        # a dictionary, which the walk has not met.
        self._holders = self._walk.holders((*new.values(), *followed))
        holders = (one for held in self._holders.values() for one in held)
        self._parents = self._walk.parents(holders)
        edges = (
            (holder, thing)
            for key, thing in new.items()
            for holder in self._holders[key]
            if self._is_found(chain := self._chain(holder))
            and not any(id(above) in new for above in chain)
        )
        found = [self._arrival(*edge) for edge in itertools.islice(edges, MAX_ARRIVALS)]
        self.cut_short |= next(edges, None) is not None
        return found

    def memories(self, thing: Any, numbers: Numbers) -> Iterator[Memory]:
        """Where loops are remembered by their numbers, beside a new thing or one followed."""
        for holder in self._holders.get(id(thing), ())[:_MAX_HOLDERS]:
            chain = [*self._chain(holder), thing]
            if not self._is_found(chain):
                continue
            for end, (above, held) in enumerate(itertools.pairwise(chain), start=1):
                if parts := numbers.found_in(self._step(above, held)[0]):
                    yield Memory(self._path(chain[:end]), How.KEY, parts)
            for above in self._namespace(chain[:-1]):
                if id(above) not in self._numbered:
                    self._numbered[id(above)] = list(self._beside(above, numbers))
                yield from self._numbered[id(above)]

    def _namespace(self, chain: list[Any]) -> Iterator[Any]:
        """The containers around the end of a chain, up to the object or module that has them."""
        for above in reversed(chain):
            yield above
            if not is_a(above, CONTAINERS) or _is_namespace(above, self._parents.get(id(above))):
                return

    # -- slots -----------------------------------------------------------------------------

    def _chain(self, one: Any) -> list[Any]:
        chain = [one]
        while (parent := self._parents.get(id(chain[-1]))) is not None:
            chain.append(parent)
        chain.reverse()
        return chain

    def _is_found(self, chain: list[Any]) -> bool:
        """Whether a chain begins at a root; another thread may have changed what is on the way."""
        return id(chain[0]) in self._roots

    def _arrival(self, holder: Any, thing: Any) -> Arrival:
        chain = [*self._chain(holder), thing]
        steps = [self._roots[id(chain[0])]]
        slot: list[object] = [steps[0]]
        for parent, held in itertools.pairwise(chain):
            key, text = self._step(parent, held)
            if text:
                slot.append(key)
                steps.append(text)
        kind = type(thing)
        name = f"{module_of(kind)}.{type.__dict__['__qualname__'].__get__(kind)}"
        return Arrival(tuple(slot), name, "".join(steps), thing)

    def _path(self, chain: list[Any]) -> str:
        steps = [self._step(parent, held) for parent, held in itertools.pairwise(chain)]
        return self._roots[id(chain[0])] + "".join(text for _, text in steps)

    def _step(self, holder: Any, held: Any) -> tuple[object, str]:
        """The key or name by which one object holds another, and as Python; no text for none."""
        names = self._names.get(id(holder))
        if names is None:
            names = self._names[id(holder)] = {}
            for key, text, value in self._entries(holder):
                names.setdefault(id(value), (key, text))
        return names.get(id(held), (..., f".<{type(held).__qualname__}>"))

    def _entries(self, holder: Any) -> Iterator[tuple[object, str, Any]]:
        """What an object holds directly: a key, the key as Python, the value."""
        if is_a(holder, dict):
            is_namespace = _is_namespace(holder, self._parents.get(id(holder)))
            for key, value in dict.copy(holder).items():
                by_name = is_namespace and type(key) is str
                text = f".{key}" if by_name else f"[{links.key_text(key, self._name_loop)}]"
                yield _plain(key), text, value
        elif is_a(holder, list | deque):
            copy = list.copy if is_a(holder, list) else deque.copy
            yield from ((..., f"[{index}]", one) for index, one in enumerate(copy(holder)))
        elif is_a(holder, tuple):
            yield from ((i, f"[{i}]", one) for i, one in enumerate(tuple.__iter__(holder)))
        elif is_a(holder, set | frozenset):
            yield from ((..., ".<element>", one) for one in gc.get_referents(holder))
        elif is_a(holder, CellType):
            yield from ((None, ".cell_contents", one) for one in gc.get_referents(holder))
        elif is_a(holder, FunctionType):
            yield None, ".__closure__", holder.__closure__
            yield None, ".__defaults__", holder.__defaults__
            yield None, ".__kwdefaults__", holder.__kwdefaults__
            yield from ((None, "", one) for one in gc.get_referents(holder) if type(one) is dict)
        elif is_a(holder, links.LRU_CACHE):
            yield from self._of_cache(holder)
        elif is_a(holder, type):
            yield from ((None, "", one) for one in gc.get_referents(holder) if type(one) is dict)
        elif not is_a(holder, threading.local) or is_plain_local(type(holder)):
            yield None, "", links.own_dict(holder)
            for name, value in links.attributes(holder).items():
                yield name, f".{name}", value

    def _of_cache(self, cache: Any) -> Iterator[tuple[object, str, Any]]:
        """The keys of a C ``lru_cache``; where it has a limit, each result follows its key."""
        referents = gc.get_referents(cache)
        own = links.own_dict(cache)
        keys: set[int] = set()
        for inner in referents:
            if type(inner) is dict and inner is not own:
                keys.update(map(id, dict.keys(inner)))
                yield None, "", inner
        for key, result in itertools.pairwise(referents):
            if id(key) in keys:
                yield _plain(key), f"({links.key_text(key, self._name_loop)})", result

    # -- numbers ---------------------------------------------------------------------------

    def _beside(self, holder: Any, numbers: Numbers) -> Iterator[Memory]:
        """The numbers in the namespace that an object is, and in the containers in there."""
        parent = self._parents.get(id(holder))
        if is_a(holder, CellType) and parent is not None:  # the function's other variables
            entries = [
                (f"{text}{inner}", value)
                for _, text, cell in self._entries(parent)
                for _, inner, value in self._entries(cell)
            ]
            before = self._path(self._chain(parent))
        else:
            entries = [(text, value) for _, text, value in self._entries(holder)]
            before = self._path(self._chain(holder))
        for text, value in entries:
            path = f"{before}{text}"
            if held := numbers.found_in(value):
                yield Memory(path, How.BESIDE, held)
            elif type(value) in CONTAINERS and len(value) <= _MAX_ENTRIES and text:
                yield from self._listed(value, path, numbers)

    def _listed(self, container: Any, path: str, numbers: Numbers) -> Iterator[Memory]:
        listed: tuple[int | str, ...] = ()
        for key, text, value in self._entries(container):
            if type(container) is dict and (held := numbers.found_in(value)):
                yield Memory(f"{path}{text}", How.BESIDE, held)
            listed += numbers.found_in(key if type(container) is dict else value)
        if listed:
            yield Memory(path, How.LISTED, listed)

    # -- things ----------------------------------------------------------------------------

    def _may_be_thing(self, kind: type) -> bool:
        counts = self._kinds.get(kind)
        if counts is None:
            counts = self._kinds[kind] = may_be_thing(kind)
        return counts


def _is_namespace(names: Any, holder: Any) -> bool:
    """Whether it is a dictionary, and a module's, a class's, a function's or an object's own."""
    if type(names) is not dict:
        return False
    if holder is None:
        return "__name__" in names
    if is_a(holder, FunctionType):
        return names is not holder.__kwdefaults__
    return is_a(holder, type) or (not is_a(holder, CONTAINERS) and links.own_dict(holder) is names)


_MAX_HOLDERS = 4


def _plain(key: Any) -> object:
    """A key that may be kept; ``...`` for one that is not plain data."""
    if type(key) in PLAIN:
        return key
    if type(key) is tuple and len(key) <= _MAX_PARTS:
        return tuple(_plain(part) for part in key)
    return ...


def _is_known(thing: Any, known: Known) -> bool:
    if id(thing) not in known:
        return False
    ref = known[id(thing)]
    return ref is None or ref() is thing
