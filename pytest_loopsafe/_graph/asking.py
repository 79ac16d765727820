"""What a test would answer now, as far as that can be told without running code.

No ``__bool__``, ``__eq__`` or ``__len__`` of the user's is called: what is neither plain nor of a
builtin collection is taken for true, and compared by identity or not at all.
"""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any

from pytest_loopsafe._bytecode.places import UNKNOWN, Asked
from pytest_loopsafe._graph.kinds import entries_of, is_a, kind_of_store

_EVENTS = (asyncio.Event, threading.Event)
_GATES = (asyncio.Lock, asyncio.Semaphore, asyncio.BoundedSemaphore)
_PLAIN = (bool, int, float, str, bytes, type(None))
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def answer_to(asked: Asked, value: Any) -> bool | None:
    """What a test would give now; None where that cannot be told without running code."""
    how, argument = asked.how, asked.argument
    is_plain = type(value) in _PLAIN
    if how in ("truth", "len"):
        return _truth(value)
    if how == "is":
        return value is argument if argument is not UNKNOWN else None
    if how in ORDER and is_plain and type(argument) in _PLAIN:
        with suppress(TypeError):
            return ORDER[how](value, argument)
        return None
    if how == "==" and argument is not UNKNOWN:
        alone = value is None or argument is None or (is_a(value, Enum) and is_a(argument, Enum))
        return value is argument if alone else None
    if how == "among" and is_plain:
        return any(type(one) is type(value) and one == value for one in argument)
    if type(value) in _EVENTS and how == "is_set":
        return bool(value.is_set())
    if type(value) in _GATES and how == "locked":
        return bool(value.locked())
    return _of_container(asked, value) if kind_of_store(value) is not None else None


def _of_container(asked: Asked, value: Any) -> bool | None:
    """Of an entry: where the key is known whether it is there, else whether there is any."""
    if asked.how.startswith("len"):
        count = kind_of_store(value).__len__(value)
        # The function may have put something into it before it asks.
        answers = {ORDER[asked.how[3:]](one, asked.argument) for one in (count, count + 1)}
        return answers.pop() if len(answers) == 1 else None
    if asked.how in ("compare", *ORDER):
        return None
    if asked.entry is not None:
        return _of_entry(asked, value)
    there = _truth(value)
    key = asked.argument if asked.how != "=" else UNKNOWN
    if type(key) in (str, bytes, int):
        there = any(type(one) is type(key) and one == key for one in entries_of(value))
        if there and asked.how in ("get", "[]") and is_a(value, dict):
            return _truth(dict.get(value, key))
    return not there if asked.how == "=" else there


def _of_entry(asked: Asked, value: Any) -> bool | None:
    """Of an entry that is compared: the one whose key is known, else any of them."""
    if not is_a(value, dict) or asked.entry is None:
        return None
    compared = Asked(asked.place, *asked.entry)
    if type(asked.argument) in (str, bytes, int):
        keys = [one for one in entries_of(value) if type(one) is type(asked.argument)]
        there = asked.argument in keys
        if not there and asked.how == "[]":
            return None
        return answer_to(compared, dict.get(value, asked.argument) if there else None)
    answers = {answer_to(compared, one) for one in tuple(dict.values(value))}
    return True if True in answers else None if None in answers else False


def _truth(value: Any) -> bool:
    """The truth of a value. A user's object is taken for true: its ``__bool__`` is not asked."""
    if type(value) in _PLAIN:
        return bool(value)
    kind = kind_of_store(value)
    return kind is None or bool(kind.__len__(value) > 0)


def is_set(value: Any) -> bool:
    """Whether what is there can say that something was done."""
    return bool(value.is_set()) if type(value) in _EVENTS else _truth(value)
