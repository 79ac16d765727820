"""Where the code under test remembers a number: the ``id()`` of a loop.

Ints are not the collector's, so nobody can be asked who refers to one. The search goes the other
way: from the user's modules and the function under test inwards, and it is bounded.
"""

from __future__ import annotations

import gc
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from pytest_loopsafe.heap import links
from pytest_loopsafe.heap.kinds import is_a
from pytest_loopsafe.heap.owners import NOT_OWNERS
from pytest_loopsafe.stacks import is_library, module_file

_MAX_NODES = 50_000
_SECONDS = 0.3


@dataclass(frozen=True)
class Note:
    """A number found as an attribute, a variable or a key.

    Attributes:
        path: where, as Python.
        place: the same, without the number itself.
        number: the int object: another of the same value was written anew.
        beside: what the number is the key of: its ``id()``, and a weak reference where it has one.
    """

    path: str
    place: str
    number: int
    beside: tuple[int, weakref.ref[Any] | None]

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


def find(number: int, subjects: Iterable[tuple[Any, str]], name: links.NameLoop) -> Iterator[Note]:
    """All places that remember `number`, within the bounds."""
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
        for held in _insides(holder):
            if type(held) is int:
                if held == number:
                    yield from _note(chain, held, start, name, of_test)
            elif id(held) not in seen and not is_a(held, _NOT_ENTERED):
                if _is_ours(held):
                    continue
                if is_a(held, type) and is_library(module_file(str(held.__module__))):
                    continue
                seen.add(id(held))
                pending.append(((*chain, held), start, of_test))


_NOT_ENTERED = (ModuleType, FrameType, CodeType, str, bytes, float, bool, type(None))


def _is_ours(held: Any) -> bool:
    """A report of an earlier run that somebody keeps, a test's own item."""
    bearer = held.__self__ if is_a(held, MethodType) else held
    module = getattr(type(bearer), "__module__", None)
    return isinstance(module, str) and module.partition(".")[0] in NOT_OWNERS


def _insides(holder: Any) -> Iterable[Any]:
    if is_a(holder, FunctionType):
        return [*(holder.__closure__ or ()), holder.__defaults__, holder.__kwdefaults__]
    if is_a(holder, dict):
        return [*dict.keys(holder), *dict.values(holder)]
    found = gc.get_referents(holder)
    # Slots and inline values hold ints that the collector does not list on every version.
    if links.own_dict(holder) is None:
        found = [*found, *links.attributes(holder).values()]
    return found


def _note(
    chain: tuple[Any, ...], number: int, start: str, name: links.NameLoop, of_test: bool
) -> Iterator[Note]:
    holder = chain[-1]
    if type(holder) is tuple and len(chain) > 1 and type(chain[-2]) is dict:
        if holder in chain[-2]:  # a part of a key
            value = chain[-2][holder]
            place = links.write(chain[:-1], start, name)
            path = links.write((*chain[:-1], value), start, name)
            yield Note(path, place, number, _identity(value))
        return
    if is_a(holder, list | tuple | deque):
        return  # a record of loops, not a way to look one up
    if is_a(holder, set | frozenset):
        if of_test:
            return  # a test that counts its loops
        path = links.write(chain, start, name)
        yield Note(f"{path}.<element {name(number)}>", path, number, (0, None))
        return
    if type(holder) is dict:
        for key, value in holder.copy().items():
            if key is number:
                path = links.write((*chain, value), start, name)
                place = links.write(chain, start, name)
                yield Note(path, place, number, _identity(value))
            elif value is number:
                path = links.write((*chain, value), start, name)
                yield Note(path, path, number, (0, None))
        return
    path = links.write((*chain, number), start, name)
    yield Note(path, path, number, (0, None))


def _identity(value: Any) -> tuple[int, weakref.ref[Any] | None]:
    try:
        return id(value), weakref.ref(value)
    except TypeError:
        return id(value), None
