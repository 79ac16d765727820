"""What counts as a thing: what may be bound to a loop, by itself or through what it does.

That is an object of a class of the user's, of a library's or of asyncio's. A number, a text, a
record declared as such (a dataclass, say) that holds only these, and containers of them are data,
which is of no loop. What the standard library has else is looked into, and counts for nothing.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections import deque
from types import FunctionType
from typing import Any

from pytest_loopsafe._graph.kinds import is_a, module_of
from pytest_loopsafe._words.stacks import is_stdlib, module_file

PLAIN = (str, bytes, int, float, complex, bool, type(None))
"""Kinds of objects that hold nothing."""

CONTAINERS = (dict, list, tuple, set, frozenset, deque)

_DECLARED = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__")
"""What the classes have whose instances are declared to be records."""

_MAX_PARTS = 100


def may_be_thing(kind: type) -> bool:
    """Whether the instances of a class may be things."""
    if issubclass(kind, (*PLAIN, *CONTAINERS, type, BaseException, asyncio.AbstractEventLoop)):
        return False
    home = module_of(kind)
    if home.partition(".")[0] in ("asyncio", "_asyncio"):
        return True
    return home not in ("builtins", "_thread") and not is_stdlib(module_file(home))


def is_thing(one: Any) -> bool:
    """Whether an object of such a class is one."""
    return gc.is_tracked(one) and not (_is_record(type(one)) and _is_data(one))


def _is_record(kind: type) -> bool:
    """Whether a class is declared to hold data, and does nothing in a loop."""
    bases = [vars(base) for base in type.mro(kind)]
    return any(mark in names for mark in _DECLARED for names in bases) and not any(
        inspect.iscoroutinefunction(value)
        for names in bases
        for value in names.values()
        if type(value) is FunctionType
    )


def _is_data(record: Any) -> bool:
    """Whether there is nothing but numbers, texts and containers of them in a record."""
    pending, seen = [record], 0
    while pending and seen < _MAX_PARTS:
        for held in gc.get_referents(pending.pop()):
            seen += 1
            if type(held) in CONTAINERS:
                pending.append(held)
            elif type(held) not in PLAIN and not is_a(held, type):
                return False
    return not pending
