"""What keeps code that ran once from running again: a flag, an entry, a cache.

``if not self._started: self._started = True; create_task(...)``. Such a guard has a hundred
shapes: a global, an attribute, a class's, a function's own, a closure's variable; a dictionary or a
set with an entry; an Event; a cached function. What they have in common is that the code which
started the work wrote to them itself. So its bytecode says where to look, and the heap whether it
is still so.
"""

from __future__ import annotations

import asyncio
import dis
import gc
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any

from pytest_loopsafe.heap.kinds import is_a
from pytest_loopsafe.heap.links import LRU_CACHE, attributes
from pytest_loopsafe.stacks import first_argument, is_library, live_frames, module_file

_MAX_STARTERS = 8
_CONTAINERS = (dict, list, set, deque)
_EVENTS = (asyncio.Event, threading.Event)
_FILLS = frozenset(
    {"add", "append", "appendleft", "extend", "insert", "put", "put_nowait", "set", "setdefault"}
    | {"update"}
)
"""Methods by which code marks something in a container, or sets an event."""

Keeper = Callable[[Any], str | None]
"""Tells the path by which the user's own globals reach an object; None where they do not."""


@dataclass(frozen=True)
class Starter:
    """One function that was running when work was started, and the object that it belongs to."""

    code: CodeType
    bearer: weakref.ref[Any] | None


def starters() -> tuple[Starter, ...]:
    """The user's functions that are running now, the innermost first."""
    found: list[Starter] = []
    for frame in reversed(live_frames()):
        if not is_library(frame.f_code.co_filename):
            bearer = None
            with suppress(TypeError):  # no object, or one without weak references
                bearer = weakref.ref(first_argument(frame))
            found.append(Starter(frame.f_code, bearer))
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


@dataclass(frozen=True)
class _Writes:
    """The names that a function writes to, by kind, and whether it fills containers."""

    globals: frozenset[str]
    cells: frozenset[str]
    attributes: frozenset[str]
    fills: bool

    @classmethod
    def of(cls, code: CodeType) -> _Writes:
        names: dict[str, set[str]] = {}
        for instruction in dis.get_instructions(code):
            names.setdefault(instruction.opname, set()).add(str(instruction.argval))
        return cls(
            frozenset(names.get("STORE_GLOBAL", ())),
            frozenset(names.get("STORE_DEREF", ())),
            frozenset(names.get("STORE_ATTR", ())),
            "STORE_SUBSCR" in names or not _FILLS.isdisjoint(code.co_names),
        )


def _guard(function: FunctionType, starter: Starter, kept: Keeper) -> str | None:
    if _is_cached(function):
        return f"the cache of {function.__module__}.{function.__qualname__}()"
    code, writes = starter.code, _Writes.of(starter.code)
    variables = {
        f"{function.__globals__.get('__name__')}.{name}": (function.__globals__[name], name)
        for name in code.co_names
        if name in function.__globals__
    }
    where = function.__qualname__.rpartition(".<locals>")[0] or function.__module__
    cells = {
        f"{where}.<locals>.{name}": (content, name)
        for name, content in _contents(code.co_freevars, function.__closure__ or ())
    }
    for path, (value, name) in (*variables.items(), *cells.items()):
        written = name in (writes.globals if path in variables else writes.cells)
        if (written and is_set(value)) or (writes.fills and _is_filled(value)):
            return path
    for path, holder in _holders(starter, variables | cells, kept):
        for name, value in _own(holder).items():
            written = name in writes.attributes and is_set(value)
            if written or (writes.fills and name in code.co_names and _is_filled(value)):
                return f"{path}.{name}"
    return None


def _holders(
    starter: Starter, variables: dict[str, tuple[Any, str]], kept: Keeper
) -> Iterator[tuple[str, Any]]:
    """What a function may write attributes of: its own object, and what it names."""
    bearer = starter.bearer() if starter.bearer is not None else None
    if bearer is not None:
        path = kept(bearer)
        if path is not None:
            yield path, bearer
            if not is_a(bearer, type):
                yield f"{path}.__class__", type(bearer)
    for path, (value, _) in variables.items():
        module = value.__module__ if is_a(value, type | FunctionType) else type(value).__module__
        if isinstance(module, str) and not is_library(module_file(module)):
            yield path, value
    # SimpleNamespace and its like: the library's class, the user's attributes.
    for path, (value, _) in variables.items():
        if type(value).__module__ == "types":
            yield path, value


def _own(holder: Any) -> dict[str, Any]:
    return dict(vars(holder)) if is_a(holder, type) else attributes(holder)


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
    if is_a(value, (*_CONTAINERS, *_EVENTS)):
        return _is_filled(value)
    return True


def _is_filled(value: Any) -> bool:
    if type(value) in _EVENTS:
        return bool(value.is_set())
    return type(value) in _CONTAINERS and len(value) > 0
