"""What lives of itself: the globals of modules, and what a test names. Paths begin there."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from pytest_loopsafe._cpython import namespace_of
from pytest_loopsafe._graph.kinds import module_of
from pytest_loopsafe._graph.numbers import are_asked_for_in
from pytest_loopsafe._words.stacks import is_library, module_file
from pytest_loopsafe._words.whose import TERRITORY

NOT_OWNERS = ("pytest_loopsafe", "_pytest", "pytest", "pluggy", "pytest_asyncio", "execnet")
"""Top-level packages whose objects hold things for the test's sake only."""

_RUNNING = ("_asyncio", "asyncio.tasks")
"""Modules that list the tasks there are: what runs now is a frame's, and no answer."""

Subjects = tuple[tuple[Any, str], ...]
"""The function under test and what it is given, each with its name."""


@dataclass(frozen=True)
class Root:
    """Where a path begins.

    Attributes:
        text: its name; empty for what counts for nobody.
        own: whether it is the user's own.
        subject: whether it is the function under test, or given to it.
        hidden: whether only C code holds it.
    """

    text: str
    own: bool
    subject: bool = False
    hidden: bool = False


def modules() -> list[tuple[str, ModuleType]]:
    """All modules there are, by name."""
    return [
        (name, one) for name, one in tuple(sys.modules.items()) if issubclass(type(one), ModuleType)
    ]


def is_users(module: str) -> bool:
    """Whether a module is the user's own code, and nothing that is there for the test's sake."""
    return module.partition(".")[0] not in NOT_OWNERS and not is_library(module_file(module))


def _users_modules() -> list[tuple[str, dict[str, Any], str]]:
    """Name, variables and file of each module for which `is_users` says so.

    Which modules are a library's is asked once of each name: a walk over all of a large
    application's is a tenth of what a short run costs.
    """
    libraries = TERRITORY.view.libraries
    found = []
    for name in [one for one in tuple(sys.modules) if one not in libraries]:
        names = namespace_of(sys.modules.get(name))
        file = names.get("__file__")
        if type(file) is str and not is_library(file) and name.partition(".")[0] not in NOT_OWNERS:
            found.append((name, names, file))
        elif names:
            libraries.add(name)
    return found


class Roots:
    """All that lives of itself and can be named, by its ``id()``.

    Of a module nothing but its name is noted; whose it is, is asked of the few that a search meets:
    a large application has thousands.
    """

    def __init__(self, subjects: Iterable[tuple[Any, str]]) -> None:
        self._modules = {id(namespace_of(one)): name for name, one in reversed(modules())}
        self._subjects = {
            id(subject): Root(name, own=True, subject=True) for subject, name in subjects
        }

    def get(self, key: int) -> Root | None:
        """The root that has an ``id()``, if one has."""
        subject = self._subjects.get(key)
        if subject is not None:
            return subject
        name = self._modules.get(key)
        if name is None:
            return None
        passing = name.partition(".")[0] in NOT_OWNERS or name in _RUNNING
        return Root("" if passing else name, not is_library(module_file(name)))


def users_roots(subjects: Iterable[tuple[Any, str]]) -> list[tuple[Any, str]]:
    """Where a walk over the user's data begins: their modules' globals, and what was named."""
    return [*((names, module) for module, names, _ in _users_modules()), *subjects]


def is_for_the_test(kind: type) -> bool:
    """Whether objects of a class are pytest's, or our own."""
    return module_of(kind).partition(".")[0] in NOT_OWNERS


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


def ask_for_numbers(subjects: Subjects) -> bool:
    """Whether any of the user's code may ask for the ``id()`` or the hash of anything."""
    files = {file for _, _, file in _users_modules()}
    files |= {one.__code__.co_filename for one, _ in subjects if type(one) is FunctionType}
    return any(map(are_asked_for_in, files))
