"""Seeing locks, semaphores and conditions being made, and where the code around puts them.

Where a gate will be held is not known while it is made: it is stored when its constructor has
returned. So the places to which the functions that run then write are noted, and looked at when the
gate is first used. What a function writes to is in its bytecode, and read once for each function.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._bytecode.places import stored_by
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._words.stacks import (
    Frame,
    first_argument,
    is_library,
    is_method,
    stack_here,
)
from pytest_loopsafe._words.weak import Ref, nowhere, weak

_FUNCTIONS = 4
"""So many functions of the user's, from the one that makes the gate outwards, may store it."""


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
    """A function of the user's that was running when a gate was made, and where it was.

    `bearer` is the object whose method it is.
    """

    code: CodeType
    offset: int
    bearer: Ref = nowhere


@dataclass(frozen=True)
class GateMade(Sighting):
    """The user's code has made a gate, and may put it into one of these places.

    `makers` are the functions that were running then, the innermost first.
    """

    gate: Any
    permits: int | None
    places: tuple[Place, ...]
    frames: tuple[Frame, ...]
    makers: tuple[Maker, ...]


class GateProbe:
    """Sees the constructors of gates, called by the user's own code."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the constructors."""
        stored: dict[int, tuple[CodeType, frozenset[tuple[str, bool]]]] = {}
        patches.when_armed(stored.clear)

        def stored_in(code: CodeType) -> frozenset[tuple[str, bool]]:
            known = stored.get(id(code))
            if known is None:
                known = stored[id(code)] = code, stored_by(code)
            return known[1]

        def look_around(frame: FrameType | None) -> tuple[tuple[Place, ...], tuple[Maker, ...]]:
            places: list[Place] = []
            makers: list[Maker] = []
            while frame is not None and len(makers) < _FUNCTIONS:
                code = frame.f_code
                if not is_library(code.co_filename):
                    names, bearer = stored_in(code), nowhere
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

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
                original(self, *args, **kwargs)
                frame: FrameType | None = sys._getframe(1)
                while frame is not None and frame.f_code.co_name == "__init__":
                    if first_argument(frame) is not self:  # else it is of a class made of this
                        break
                    frame = frame.f_back
                if frame is not None and not is_library(frame.f_code.co_filename):
                    places, makers = look_around(frame)
                    permits = _cpython.permits_of(self)
                    emit(GateMade(self, permits, places, stack_here(), makers))

            return __init__

        for owner in (asyncio.Lock, asyncio.Semaphore, asyncio.Condition):
            patches.replace(owner, "__init__", build)
