"""What kind of object something is, without asking it.

``isinstance()`` asks an object for its ``__class__``, and a proxy (of weakref, werkzeug, Django,
mock) answers for what it stands for: by running code of the user's, or by raising where there is
nothing. What walks over all objects must do neither.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from pytest_loopsafe._cpython import FUTURE_MARK

_CONTAINERS = (dict, list, tuple, set, frozenset, deque)


def is_a(thing: object, kinds: Any) -> bool:
    """Whether an object's own type is one of `kinds`, as ``isinstance()`` takes them."""
    return issubclass(type(thing), kinds)


def is_future(thing: Any) -> bool:
    """`asyncio.isfuture`, of the object's own type, past any metaclass."""
    return any(vars(base).get(FUTURE_MARK) is not None for base in type.mro(type(thing)))


def kind_of_store(thing: Any) -> Any:
    """The kind of collection that something is, whose methods are none of a subclass's; or None."""
    return next((kind for kind in _STORES if is_a(thing, kind)), None)


_STORES = (dict, list, set, deque)


def entries_of(thing: Any) -> tuple[Any, ...]:
    """What is in a collection, the keys of a dictionary; nothing in anything else."""
    kind = kind_of_store(thing)
    return tuple(kind.__iter__(thing)) if kind is not None else ()


def module_of(kind: type) -> str:
    """The module in which a class was made, past any metaclass; empty where it does not say."""
    try:
        module = _MODULE.__get__(kind)
    except Exception:  # noqa: BLE001 - a C type may have no name of one
        return ""
    return module if type(module) is str else ""


_MODULE: Any = vars(type)["__module__"]


def is_mass(thing: Any, most: int) -> bool:
    """Whether something is a container of more than so many things: data, and nobody's clients."""
    return type(thing) in _CONTAINERS and len(thing) > most


def is_plain_local(kind: type) -> bool:
    """Whether to read the variables of a class's instances in a thread runs no code of theirs."""
    return issubclass(kind, threading.local) and all(
        "__init__" not in vars(base) for base in kind.__mro__[: kind.__mro__.index(threading.local)]
    )
