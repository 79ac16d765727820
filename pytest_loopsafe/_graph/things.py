"""What counts as a thing: what may be bound to a loop, by itself or through what it does.

That is an object of a class of the user's, of a library's or of asyncio's. A number, a text, an
object that holds only these and whose class does nothing in a loop (it has no async method, and
nobody waits for it), and containers of them are data, which is of no loop. What the standard
library has else is looked into, and counts for nothing.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from threading import Lock, RLock
from types import FunctionType
from typing import Any

from pytest_loopsafe._graph.kinds import is_a, module_of
from pytest_loopsafe._words.stacks import is_stdlib, module_file

PLAIN = (str, bytes, int, float, complex, bool, type(None))
"""Kinds of objects that hold nothing."""

CONTAINERS = (dict, list, tuple, set, frozenset, deque)

_HOLDING_NOTHING = (*PLAIN, *map(type, (Lock(), RLock())), date, datetime, time, timedelta, Decimal)
_HOLDING_PARTS = (*CONTAINERS, Counter, OrderedDict, defaultdict)
"""Compiled classes of nobody's own: what is within their instances is all that there is to them."""

_OF_CODE = (type, Enum)
"""What is made where the code is read, and not for a loop."""

_DECLARED = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__")
"""What the classes have whose instances are declared to be records."""

_WAITED_FOR = ("__await__", "__aenter__", "__aiter__", "__anext__")

_KEEPING_NOTHING = (object, typing.Generic)
"""Bases that are compiled, and of which an instance has nothing."""

_WRAPPERS = (FunctionType, type(functools.lru_cache(int)))

_MAX_WRAPPERS = 20
_MAX_PARTS = 100


def may_be_thing(kind: type) -> bool:
    """Whether the instances of a class may be things."""
    if issubclass(kind, (*PLAIN, *CONTAINERS, type, BaseException, asyncio.AbstractEventLoop)):
        return False
    if _is_asyncios(kind):
        return True
    home = module_of(kind)
    return home not in ("builtins", "_thread") and not is_stdlib(module_file(home))


def is_thing(one: Any, records: dict[int, bool]) -> bool:
    """Whether an object of such a class is one.

    Args:
        one: the object.
        records: what is known of classes, by their ``id()``; for the moment only.
    """
    return gc.is_tracked(one) and not (
        _is_known_record(type(one), records) and _is_data(one, records)
    )


def _is_known_record(kind: type, records: dict[int, bool]) -> bool:
    known = records.get(id(kind))
    if known is None:
        known = records[id(kind)] = _is_one(kind, _HOLDING_PARTS) or _is_record(kind)
    return known


def _is_asyncios(kind: type) -> bool:
    return module_of(kind).partition(".")[0] in ("asyncio", "_asyncio")


def _is_record(kind: type) -> bool:
    """Whether the instances of a class are what they hold, and do nothing in a loop.

    A compiled class may hold what nobody sees, and a callable that is no function may do anything:
    only of a class that is declared to be a record it is believed that it does not.
    """
    bases = [base for base in type.mro(kind) if not _is_one(base, _KEEPING_NOTHING)]
    names = [vars(base) for base in bases]
    if any(mark in one for mark in _WAITED_FOR for one in names):
        return False
    members = [member for one in names for value in one.values() for member in _within(value)]
    if any(map(_is_async, members)):
        return False
    if any(mark in one for mark in _DECLARED for one in names):
        return True
    return not any(map(_is_asyncios, bases)) and all(
        is_a(one, (FunctionType, type)) or not callable(one) for one in members
    )


def _within(member: Any) -> Iterator[Any]:
    """What a class's attribute stands for: functions, and what these say that they wrap."""
    if is_a(member, property):
        yield from filter(None, (member.fget, member.fset, member.fdel))
        return
    for _ in range(_MAX_WRAPPERS):
        if is_a(member, (staticmethod, classmethod)):
            member = member.__func__
        elif is_a(member, functools.cached_property):
            member = member.func
        elif is_a(member, _WRAPPERS) and "__wrapped__" in vars(member):
            if is_a(member, FunctionType):
                yield member
            member = vars(member)["__wrapped__"]
        else:
            break
    yield member


def _is_async(member: Any) -> bool:
    return is_a(member, FunctionType) and (
        inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
    )


def _is_data(record: Any, records: dict[int, bool]) -> bool:
    """Whether there is nothing but numbers, texts, containers and records of them in a record.

    Of who holds nothing at all its content says nothing.
    """
    if all(
        is_a(held, type) or (type(held) is dict and not held) for held in gc.get_referents(record)
    ):
        return False
    pending, seen = [record], {id(record)}
    while pending and len(seen) < _MAX_PARTS:
        for held in gc.get_referents(pending.pop()):
            kind = type(held)
            if id(held) in seen or is_a(held, _OF_CODE) or _is_one(kind, _HOLDING_NOTHING):
                continue
            if not _is_known_record(kind, records):
                return False
            seen.add(id(held))
            pending.append(held)
    return not pending


def _is_one(kind: type, kinds: tuple[Any, ...]) -> bool:
    """Whether a class is among others, without being asked: its metaclass may compare it."""
    return any(kind is one for one in kinds)
