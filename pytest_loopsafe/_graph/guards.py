"""What keeps code that ran once from running again: a flag, an entry, a cache.

``if not self._started: self._started = True; create_task(...)``. Such a guard has a hundred
shapes: a global, an attribute, a class's, a function's own, a closure's variable; a dictionary or a
set with an entry; an Event; a cached function. What they have in common is that the code looks at
it before it starts anything, and that the code wrote to it itself. So the source says where to
look (`pytest_loopsafe._graph.asked`), and the heap whether it is still so.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from pytest_loopsafe._graph import asked
from pytest_loopsafe._graph.kinds import is_a, module_of
from pytest_loopsafe._graph.links import LRU_CACHE, attributes
from pytest_loopsafe._words.stacks import first_argument, is_library, live_frames, module_file

_MAX_STARTERS = 8
_CONTAINERS = (dict, list, set, deque)
_EVENTS = (asyncio.Event, threading.Event)

Keeper = Callable[[Any], str | None]
"""Tells the path by which the user's own globals reach an object; None where they do not."""


@dataclass(frozen=True)
class Starter:
    """One function that was running when work was started: where, and for which object."""

    code: CodeType
    line: int
    bearer: weakref.ref[Any] | None

    @property
    def guards(self) -> frozenset[str]:
        """The names that it looks at before it comes to its line, and that its file writes to."""
        file = self.code.co_filename
        return asked.guards(file, self.line) & asked.written(file)


def starters() -> tuple[Starter, ...]:
    """The user's functions that are running now, the innermost first."""
    found: list[Starter] = []
    for frame in reversed(live_frames()):
        if not is_library(frame.f_code.co_filename):
            bearer = None
            with suppress(TypeError):  # no object, or one without weak references
                bearer = weakref.ref(first_argument(frame))
            found.append(Starter(frame.f_code, frame.f_lineno, bearer))
    return tuple(found[:_MAX_STARTERS])


def guard_of(chain: Sequence[Starter], kept: Keeper) -> str | None:
    """What tells the functions of a chain that they have done their work, as a path; or None.

    It reads the whole heap for each function until it finds one.
    """
    for starter in chain:
        for function in gc.get_referrers(starter.code):
            if type(function) is FunctionType and function.__code__ is starter.code:
                found = _guard(function, starter, kept)
                if found is not None:
                    return found
    return None


def is_guarded_by(starter: Starter, bearer: Any) -> bool:
    """Whether a function looks at an attribute of this object that says that it is done."""
    own = attributes(bearer)
    return any(is_set(own[name]) for name in starter.guards if name in own)


def _guard(function: FunctionType, starter: Starter, kept: Keeper) -> str | None:
    if _is_cached(function):
        return f"the cache of {function.__module__}.{function.__qualname__}()"
    guards, code, names = starter.guards, starter.code, function.__globals__
    module = names.get("__name__")
    variables = {f"{module}.{name}": (names[name], name) for name in code.co_names if name in names}
    where = function.__qualname__.rpartition(".<locals>")[0] or function.__module__
    for name, content in _contents(code.co_freevars, function.__closure__ or ()):
        variables[f"{where}.<locals>.{name}"] = content, name
    for path, (value, name) in variables.items():
        if name in guards and is_set(value) and not is_a(value, type | FunctionType | ModuleType):
            return path
    for path, holder in _holders(starter, variables, kept):
        own = dict(vars(holder)) if is_a(holder, type) else attributes(holder)
        for name in guards:
            if name in own and is_set(own[name]):
                return f"{path}.{name}"
    return None


def _holders(
    starter: Starter, variables: dict[str, tuple[Any, str]], kept: Keeper
) -> Iterator[tuple[str, Any]]:
    """What a function may look at an attribute of: its own object, and what it names."""
    bearer = starter.bearer() if starter.bearer is not None else None
    path = kept(bearer) if bearer is not None and gc.is_tracked(bearer) else None
    if path is not None:
        yield path, bearer
        if not is_a(bearer, type):
            yield f"{path}.__class__", type(bearer)
    for path, (value, _) in variables.items():
        if is_a(value, type):
            module = module_of(value)
        else:
            module = value.__module__ if type(value) is FunctionType else module_of(type(value))
        # SimpleNamespace is the library's class with the user's attributes.
        if module == "types" or not is_library(module_file(str(module))):
            yield path, value


def _contents(names: Sequence[str], cells: Sequence[CellType]) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(names, cells, strict=True):
        with suppress(ValueError):  # an empty cell
            yield name, cell.cell_contents


def _is_cached(function: FunctionType) -> bool:
    """Whether a function lies behind a ``functools.cache`` that has an answer."""
    return any(
        type(holder) is LRU_CACHE
        and holder.__wrapped__ is function
        and holder.cache_info().currsize > 0
        for holder in gc.get_referrers(function)
    )


def is_set(value: Any) -> bool:
    """Whether a value can stand for "this has been done"."""
    if value is None or value is False:
        return False
    if type(value) in (int, float, str, bytes):
        return bool(value)
    if type(value) in _EVENTS:
        return bool(value.is_set())
    for kind in _CONTAINERS:
        if is_a(value, kind):
            return kind.__len__(value) > 0
    return True
