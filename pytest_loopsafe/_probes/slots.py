"""Where the functions that run now put things: variables, attributes, entries of dictionaries.

Where something will be held is not known while it is made: it is stored when its constructor has
returned. So the places to which the functions that run then write are noted, and looked at later.
What a function writes to is in its bytecode, and read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from pytest_loopsafe._bytecode.places import stored_by
from pytest_loopsafe._words.stacks import first_argument, is_library, is_method
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


def surroundings(frame: FrameType | None) -> tuple[tuple[Place, ...], tuple[Maker, ...]]:
    """The places that the functions of the user's write to, and these, from a frame outwards."""
    places: list[Place] = []
    makers: list[Maker] = []
    while frame is not None and len(makers) < _FUNCTIONS:
        code = frame.f_code
        if not is_library(code.co_filename):
            names, bearer = stored_by(code), nowhere
            if is_method(code) or any(is_attribute for _, is_attribute in names):
                bearer = weak(first_argument(frame))
            for name, is_attribute in names:
                if not is_attribute:
                    places.append(Place(name, frame.f_globals))
                elif bearer is not nowhere:
                    places.append(Place(name, bearer=bearer))
            makers.append(Maker(code, frame.f_lasti, bearer))
        frame = frame.f_back
    return tuple(places), tuple(makers)
