"""Which functions of the user's may set or ask a context variable that a module or a class has."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cached_property, partial, partialmethod
from types import CodeType, FunctionType, MethodType
from typing import Any

from pytest_loopsafe._graph.links import own_dict
from pytest_loopsafe._graph.roots import users_roots
from pytest_loopsafe._words.whose import TERRITORY

_MAX_CODES = 500


class _Known:
    """What was found and when. It is asked before each pass.

    It holds until more is imported, or something else counts as the user's code.
    """

    when: object = None
    view: object = None
    codes: tuple[CodeType, ...] = ()


def codes_with_variables() -> tuple[CodeType, ...]:
    """By the names that they use: what they do with them is seen when they run."""
    last = next(reversed(sys.modules), "")
    now = (len(sys.modules), last, id(sys.modules.get(last)))
    if _Known.when != now or _Known.view is not TERRITORY.view:
        _Known.when, _Known.view, _Known.codes = now, TERRITORY.view, tuple(_search())
    return _Known.codes


def _search() -> list[CodeType]:
    modules = [dict(names) for names, _ in users_roots(())]
    variables = {
        name for names in modules for name, value in _named_in(names) if type(value) is ContextVar
    }
    if not variables:
        return []
    found: dict[int, CodeType] = {}
    for names in modules:
        for _, value in _named_in(names):
            for code in _codes_of(value):
                used = {*code.co_names, *code.co_freevars}
                if not used.isdisjoint(variables) and not used.isdisjoint(_METHODS):
                    found[id(code)] = code
    return list(found.values())[:_MAX_CODES]


_METHODS = ("get", "set")


def _named_in(names: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a module has, and what the classes in it have."""
    yield from names.items()
    for value in names.values():
        if issubclass(type(value), type) and vars(value).get("__module__") == names.get("__name__"):
            yield from dict(vars(value)).items()


def _codes_of(value: Any) -> Iterator[CodeType]:
    """The code of a function, a method or a property, of what it wraps, and of those within."""
    pending: list[Any] = [value]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        kind = type(one)
        if id(one) in seen:  # it wraps itself
            continue
        seen.add(id(one))
        if kind is CodeType:
            yield one
            pending += [part for part in one.co_consts if type(part) is CodeType]
        elif kind is property:
            pending.append(one.fget)
        elif kind is classmethod or kind is staticmethod or kind is MethodType:
            pending.append(one.__func__)
        elif kind is partial:
            pending.append(one.func)
        elif kind is cached_property or kind is partialmethod:
            pending.append((own_dict(one) or {}).get("func"))
        else:  # a function, a functools.cache, an object of a decorator's class
            pending += [one.__code__] if kind is FunctionType else []
            pending.append((own_dict(one) or {}).get("__wrapped__"))
