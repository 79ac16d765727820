"""What a test has patched, by whatever means: ``unittest.mock``, ``setattr()``, Django's settings.

A worker is a fork: what was put into a module after that, it has not. Told from what is there now,
and when the worker was started. In the user's modules and classes that is functions, classes and
plain values, where no function of their own module writes to that name; in all modules it is mocks.
What code makes at its first use (``client = None``, then a client) or counts is no patch.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeAlias

from pytest_loopsafe._bytecode.places import stored_by
from pytest_loopsafe._cpython import namespace_of
from pytest_loopsafe._graph.kinds import instances_of, is_a, module_of
from pytest_loopsafe._graph.links import own_dict
from pytest_loopsafe._graph.roots import modules, users_roots
from pytest_loopsafe._words.weak import Ref, weak

_PLAIN = frozenset(map(id, (str, int, float, bool, bytes)))
_Name: TypeAlias = tuple[str, ...]
"""A module's, and those that lead from it to a function, a value or a mock."""


@dataclass(frozen=True, eq=False)
class Patched:
    """What could be patched, by module and name; equal to what was there before, if nothing is new.

    Attributes:
        things: functions and classes, of the user's modules.
        values: plain values there.
        mocks: of all modules.
    """

    things: dict[_Name, Ref]
    values: dict[_Name, object]
    mocks: dict[_Name, Ref]

    @classmethod
    def now(cls) -> Patched:
        """As it is at this moment."""
        found = cls({}, {}, {})
        mock = namespace_of(sys.modules.get("unittest.mock")).get("NonCallableMock", ())
        for name, value in _variables():
            if is_a(value, mock):
                found.mocks[name] = weak(value)
            elif is_a(value, FunctionType | type):
                found.things[name] = weak(value)
            elif id(type(value)) in _PLAIN:  # a class of the user's may have an __eq__
                found.values[name] = value
        for module, one in modules() if mock else ():
            names = tuple(namespace_of(one).items())
            mocks = [entry for entry in names if issubclass(type(entry[1]), mock)]
            found.mocks.update(((module, name), weak(value)) for name, value in mocks)
        found.things["django.conf", "settings"] = weak(_djangos())
        return found

    def __eq__(self, other: object) -> bool:
        """Whether nothing was patched in between, or set back; modules may have been loaded."""
        if not isinstance(other, Patched):
            return NotImplemented
        if self.mocks.keys() != other.mocks.keys() or list(_others(self.mocks, other.mocks)):
            return False
        changed = [*_others(self.things, other.things)]
        changed += [key for key, one in self.values.items() if other.values.get(key, one) != one]
        return all(_is_written_by_its_module(*key) for key in changed)

    __hash__ = None  # type: ignore[assignment]


def _others(some: dict[_Name, Ref], others: dict[_Name, Ref]) -> Iterator[_Name]:
    return (key for key in some.keys() & others.keys() if some[key]() is not others[key]())


def _is_written_by_its_module(module: str, *names: str) -> bool:
    """Whether a function of the module writes to the name: it is the code's own state then."""
    variables, name = namespace_of(sys.modules.get(module)), names[-1]
    return any(
        name in stored_by(function.__code__).names
        for function in instances_of(FunctionType, gc.get_objects())
        if function.__globals__ is variables and name in function.__code__.co_names
    )


def _variables() -> Iterator[tuple[_Name, Any]]:
    for names, module in users_roots(()):
        for name, value in tuple(names.items()):
            yield (module, name), value
            if is_a(value, type) and module_of(value) == module:
                for attribute, one in tuple(_NAMESPACE.__get__(value).items()):
                    yield (module, name, attribute), one


_NAMESPACE: Any = vars(type)["__dict__"]


def _djangos() -> Any:
    """``override_settings()``, and pytest-django's fixture, put another in the place of this."""
    settings = namespace_of(sys.modules.get("django.conf")).get("settings")
    return (own_dict(settings) or {}).get("_wrapped")
