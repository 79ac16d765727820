"""Seeing that functions begin, and what they are given: on CPython 3.12 and later.

A coroutine that is awaited at once is given to no loop. What tells of it is the interpreter, which
tells of a coroutine when it runs its first instruction, and not when it is made
(`pytest_loopsafe._probes.monitoring`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import CodeType, EllipsisType, FrameType, NoneType
from typing import Any

from pytest_loopsafe._probes.monitoring import RUNS, TOOL
from pytest_loopsafe._words.stacks import is_method, local_variables
from pytest_loopsafe._words.weak import Ref, nowhere, weak

_MAX_CODES = 1_000
_MOST = 100
"""So many things are told apart of what a function is given, with what is in them."""

_COMMON = (bool, EllipsisType, NoneType)
"""Two of these are one and the same without being about the same."""
_VALUES = frozenset(map(id, (bytes, complex, float, int, str, *_COMMON)))
_COLLECTIONS = frozenset(map(id, (list, tuple, dict)))
"""By their ``id()``: to look a class up by itself asks its metaclass, which is somebody's code."""


@dataclass(frozen=True)
class Given:
    """What a function was given, without keeping more of it than plain values.

    Attributes:
        all: what it was given, in the order of its parameters: plain values, the ``id()`` of what
            else there is, of lists, tuples and dictionaries what is in them.
        things: leads to what is told by its ``id()``.
        parts: the same one by one, without what any function may be given; of a method without its
            own object, unless that is all.
    """

    all: tuple[object, ...]
    things: tuple[Ref, ...]
    parts: frozenset[object]

    def is_given(self, now: Given) -> bool:
        """Whether a function is given the same now."""
        return self.all == now.all and self._is_there()

    def shares(self, now: Given) -> bool:
        """Whether a function is given a part of the same now."""
        return not self.parts.isdisjoint(now.parts) and self._is_there()

    def _is_there(self) -> bool:
        """Whether no ``id()`` can be another thing's by now."""
        return all(ref is nowhere or ref() is not None for ref in self.things)


def given_to(frame: FrameType) -> Given:
    """What the function was given that is about to begin in a frame."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
    variables = local_variables(frame)
    telling = _Telling()
    told = [telling.of(variables.get(name)) for name in code.co_varnames[:count]]
    own = told[:1] if is_method(code) else []
    parts = frozenset(part for one in told[len(own) :] for part in _parts(one))
    return Given(tuple(told), tuple(telling.things), parts or frozenset(own))


class _Telling:
    def __init__(self) -> None:
        self.things: list[Ref] = []
        self._left = _MOST

    def of(self, thing: Any) -> tuple[object, ...]:
        kind = type(thing)
        self._left -= 1
        if id(kind) in _VALUES:
            return kind, thing
        if id(kind) in _COLLECTIONS and self._left > 0:
            inside = [*thing.keys(), *thing.values()] if kind is dict else list(thing)
            return kind, *map(self.of, inside[: self._left])
        self.things.append(weak(thing))
        return id, id(thing)


def _parts(told: Any) -> Iterator[object]:
    if told[0] in (list, tuple, dict):
        for one in told[1:]:
            yield from _parts(one)
    elif told[0] not in _COMMON:
        yield told


Ear = Callable[[CodeType, FrameType], None]


class Begins:
    """Follows functions, and tells of each beginning.

    Args:
        ear: is told the code and the frame, which is at its first instruction.
    """

    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self._told: dict[int, CodeType] = {}  # by its id()

    def follow(self, code: CodeType) -> bool:
        """Tell of a function from now on; False where nobody sees it."""
        if id(code) not in self._told:
            if len(self._told) >= _MAX_CODES or not TOOL.add(RUNS, code, self._ear):
                return False
            self._told[id(code)] = code
        return True

    def stop(self) -> None:
        """Follow nothing any more."""
        TOOL.remove(RUNS, self._told.values(), self._ear)
        self._told = {}

    def forked(self) -> None:
        """Go on in a forked child."""
        TOOL.forked()
