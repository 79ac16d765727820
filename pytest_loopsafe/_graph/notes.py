"""Where the code under test remembers a loop by a number: its ``id()``, or its hash.

Or by a text with the number in it. Ints are not the collector's, so nobody can be asked who refers
to one. The search goes the other way: from the user's modules and the function under test inwards,
and it is bounded.
"""

from __future__ import annotations

import gc
import itertools
import re
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from pytest_loopsafe._graph import links
from pytest_loopsafe._graph.asked import is_asked
from pytest_loopsafe._graph.kinds import is_a, is_mass, module_of
from pytest_loopsafe._graph.owners import NOT_OWNERS
from pytest_loopsafe._words.stacks import is_library, module_file

_MAX_NODES = 20_000
_MAX_HELD = 5_000
"""What holds more than that is a mass of data; nobody has so many loops."""

_SECONDS = 0.1
_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Numbers:
    """What a loop may be remembered by."""

    id: int
    hash: int

    @classmethod
    def of(cls, loop: object) -> Numbers:
        """The numbers of a loop."""
        return cls(id(loop), object.__hash__(loop))

    def are_in(self, thing: Any) -> bool:
        """Whether an int is one of them, or a text has the ``id()`` in it."""
        if type(thing) is int:
            return thing == self.id or thing == self.hash
        return type(thing) is str and len(thing) <= _LONGEST_TEXT and str(self.id) in thing


@dataclass(frozen=True)
class Note:
    """A number found as an attribute, a variable or a key.

    Attributes:
        path: where, as Python.
        place: the same, without the number itself.
        number: the int (or str) object: another of the same value was written anew.
        beside: what the number is the key of: its ``id()``, and a weak reference where it has one.
        cached: whether it is in a key of a ``functools.cache``, which is asked at each call, or an
            attribute of an object that is a key.
    """

    path: str
    place: str
    number: int | str
    beside: tuple[int, weakref.ref[Any] | None]
    cached: bool = False

    @property
    def dated(self) -> bool:
        """Whether what is beside it tells since when it is there."""
        return self.beside[1] is not None

    def same_as(self, earlier: Note) -> bool:
        """Whether nobody has written here since the earlier look."""
        if self.number is not earlier.number:
            return False
        (address, _), (before, ref) = self.beside, earlier.beside
        return address == before and (ref is None or ref() is not None)


def find(
    numbers: Numbers, subjects: Iterable[tuple[Any, str]], name: links.NameLoop
) -> Iterator[Note]:
    """All places that remember a loop by its numbers, within the bounds."""
    end = time.perf_counter() + _SECONDS
    pending: deque[tuple[tuple[Any, ...], str, bool]] = deque()
    for module_name, module in tuple(sys.modules.items()):
        if is_a(module, ModuleType) and not is_library(module_file(module_name)):
            pending.append(((vars(module),), module_name, False))
    pending.extend(((subject,), text, True) for subject, text in subjects)
    seen = {id(chain[0]) for chain, _, _ in pending}
    while pending and len(seen) < _MAX_NODES and time.perf_counter() < end:
        chain, start, of_test = pending.popleft()
        holder = chain[-1]
        if is_mass(holder, _MAX_HELD):
            continue
        for held in _insides(holder):
            if type(held) is int or type(held) is str:
                if numbers.are_in(held):
                    yield from _note(chain, held, start, name, of_test)
            elif id(held) not in seen and not is_a(held, _NOT_ENTERED):
                if _is_ours(held):
                    continue
                if is_a(held, type) and is_library(module_file(module_of(held))):
                    continue
                seen.add(id(held))
                pending.append(((*chain, held), start, of_test))


_NOT_ENTERED = (ModuleType, FrameType, CodeType, bytes, float, bool, type(None))


def _is_ours(held: Any) -> bool:
    """A report of an earlier run that somebody keeps, a test's own item."""
    bearer = held.__self__ if is_a(held, MethodType) else held
    return module_of(type(bearer)).partition(".")[0] in NOT_OWNERS


def _insides(holder: Any) -> list[Any]:
    if is_a(holder, FunctionType):
        return [*(holder.__closure__ or ()), holder.__defaults__, holder.__kwdefaults__]
    if is_a(holder, dict):
        return [*dict.keys(holder), *dict.values(holder)]
    if type(holder) is links.LRU_CACHE:
        # Its keys are met as the keys of its dictionary, which tells what they are for.
        return [one for one in gc.get_referents(holder) if type(one) is not tuple]
    found = gc.get_referents(holder)
    # Slots and inline values hold ints that the collector does not list on every version.
    if links.own_dict(holder) is None:
        found = [*found, *links.attributes(holder).values()]
    return found


def _note(
    chain: tuple[Any, ...], number: int | str, start: str, name: links.NameLoop, of_test: bool
) -> Iterator[Note]:
    outermost: Any = number  # or the tuple that it is a part of, or the tuple that that is in
    while len(chain) > 1 and type(chain[-1]) is tuple:
        chain, outermost = chain[:-1], chain[-1]
    holder = chain[-1]
    if is_a(holder, list | tuple | deque):
        return  # a record of loops, not a way to look one up
    if is_a(holder, set | frozenset):
        if of_test:
            return  # a test that counts its loops
        path = links.write(chain, start, name)
        yield Note(f"{path}.<element {name(number) or number!r}>", path, number, (0, None))
        return
    in_key = any(_is_key(*pair) for pair in itertools.pairwise(chain))
    if outermost is not number:
        yield from _in_tuple(chain, outermost, number, start, name)
        return
    if is_a(holder, dict):
        for key, value in dict.copy(holder).items():
            if key is number:
                path = links.write((*chain, value), start, name)
                place = links.write(chain, start, name)
                yield Note(path, place, number, _identity(value))
            elif value is number:
                path = links.write((*chain, value), start, name)
                yield Note(path, path, number, (0, None), in_key)
        return
    path = links.write((*chain, number), start, name)
    yield Note(path, path, number, (0, None), in_key)


def _is_key(holder: Any, thing: Any) -> bool:
    return is_a(holder, dict) and any(key is thing for key in dict.keys(holder))


def _in_tuple(
    chain: tuple[Any, ...], outermost: Any, number: int | str, start: str, name: links.NameLoop
) -> Iterator[Note]:
    """A number in a tuple, which is a key, or a value beside which something is kept."""
    holder = chain[-1]
    path = links.write((*chain, outermost), start, name)
    if _is_key(holder, outermost):
        value = dict.get(holder, outermost)
        place = links.write(chain, start, name)
        path = links.write((*chain, value), start, name)
        cached = any(type(one) is links.LRU_CACHE for one in chain)
        yield Note(path, place, number, _identity(value), cached)
    else:
        yield Note(path, path, number, (0, None))


_HIDDEN = frozenset({"cell_contents", "f_locals"})
_NAMES = re.compile(r"[A-Za-z_]\w*")
_BRACKETS = re.compile(r"\[[^\]]*\]|<[^>]*>")


def is_consulted(note: Note) -> bool:
    """Whether the user's code asks for what is at a note's place.

    Who only writes numbers down, for a log line or to count, takes no loop for another.
    """
    names = _NAMES.findall(_BRACKETS.sub("", note.place))
    if note.cached or not names or names[-1] in _HIDDEN or note.place.endswith(")"):
        return True
    homes = [one for one in tuple(sys.modules) if note.place.startswith(f"{one}.")]
    # A place that begins in the function under test is in sight of everybody who knows that.
    return is_asked(names[-1], max(homes, key=len) if homes else names[0])


def _identity(value: Any) -> tuple[int, weakref.ref[Any] | None]:
    """What tells a value from another: of a tuple that is made anew each time, what is in it."""
    if type(value) is tuple:
        value = next((part for part in value if type(part) not in _PLAIN), value)
    try:
        return id(value), weakref.ref(value)
    except TypeError:
        return id(value), None


_PLAIN = (int, float, str, bytes, bool, type(None))
