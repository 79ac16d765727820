"""Where the functions that run now put things: variables, attributes, entries of dictionaries.

Where something will be held is not known while it is made: it is stored when its constructor has
returned. So the places to which the functions that run then write are noted, and looked at later.
What a function writes to is in its bytecode, and read once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import CodeType, FrameType
from typing import Any, NamedTuple

from pytest_loopsafe._bytecode.places import may_store, stored_by
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._words.stacks import Frame, first_argument, is_library, is_method, stack_here
from pytest_loopsafe._words.weak import Ref, nowhere, weak

_FUNCTIONS = 4
"""So many functions of the user's, from the one that makes it outwards, may store a thing."""


@dataclass(frozen=True)
class Place:
    """A variable or an attribute, or the entries of a dictionary there.

    Attributes:
        name: of the variable or attribute.
        globals: the module's variables; None for an attribute.
        bearer: the object whose attribute it is; None for a variable.
    """

    name: str
    globals: dict[str, Any] | None = None
    bearer: Ref = nowhere

    @property
    def holder(self) -> Any:
        """What has the name: a module's variables, or an object that may be gone."""
        return self.bearer() if self.globals is None else self.globals

    def now(self) -> Any:
        """What is there at this moment, without running anybody's code."""
        if self.globals is not None:
            return self.globals.get(self.name)
        for names in _namespaces(self.bearer()):
            if self.name in names:
                return names[self.name]
        return None


def _namespaces(bearer: Any) -> Iterator[Any]:
    if issubclass(type(bearer), type):
        yield from (vars(type)["__dict__"].__get__(base) for base in type.mro(bearer))
        return
    try:
        own = object.__getattribute__(bearer, "__dict__")
    except AttributeError:
        own = None
    if type(own) is dict:
        yield own


@dataclass(frozen=True)
class Maker:
    """A function of the user's that was running when something was made, and where it was.

    `bearer` is the object whose method it is.
    """

    code: CodeType
    offset: int
    bearer: Ref = nowhere


class Running(NamedTuple):
    """A function of the user's that runs at a moment, as far as it has to be known later.

    Attributes:
        code: the function's.
        offset: where it is in that.
        names: the variables of its module.
        first: its first argument, where it may write to that.
    """

    code: CodeType
    offset: int
    names: dict[str, Any]
    first: Ref


def running(frame: FrameType | None) -> tuple[Running, ...]:
    """The functions of the user's that run, from a frame outwards. It reads none of them."""
    found: list[Running] = []
    while frame is not None and len(found) < _FUNCTIONS:
        code = frame.f_code
        if not is_library(code.co_filename):
            is_asked_for = is_method(code) or may_store(code)
            first = weak(first_argument(frame)) if is_asked_for else nowhere
            found.append(Running(code, frame.f_lasti, frame.f_globals, first))
        frame = frame.f_back
    return tuple(found)


class Making(Sighting):
    """Something is being made. By whom and where is read once, by the first judge that asks for it.

    That has to be while it is observed: afterwards other code runs.
    """

    @cached_property
    def functions(self) -> tuple[Running, ...]:
        """The functions of the user's that run, the innermost first."""
        return running(sys._getframe(1))

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """The stack, as `stack_here` tells it."""
        return stack_here()


def surroundings(functions: Iterable[Running]) -> tuple[tuple[Place, ...], tuple[Maker, ...]]:
    """The places that these functions write to; and who they are, and of which object's methods."""
    places: list[Place] = []
    makers: list[Maker] = []
    for one in functions:
        names = stored_by(one.code)
        is_of_object = is_method(one.code) or any(is_attribute for _, is_attribute in names)
        bearer = one.first if is_of_object else nowhere
        for name, is_attribute in names:
            if not is_attribute:
                places.append(Place(name, one.names))
            elif bearer is not nowhere:
                places.append(Place(name, bearer=bearer))
        makers.append(Maker(one.code, one.offset, bearer))
    return tuple(places), tuple(makers)
