"""What kind of object something is, without asking it.

``isinstance()`` asks an object for its ``__class__``, and a proxy (of weakref, werkzeug, Django,
mock) answers for what it stands for: by running code of the user's, or by raising where there is
nothing. What walks over all objects must do neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import Any, TypeVar, cast

from pytest_loopsafe._cpython import FUTURE_MARK
from pytest_loopsafe._words.attributes import is_a as is_a
from pytest_loopsafe._words.attributes import is_plain_local as is_plain_local

_CONTAINERS = (dict, list, tuple, set, frozenset, deque)


def instances_of(kind: Callable[..., _T], things: Sequence[Any]) -> list[_T]:
    """The instances of a class among many objects, as `gc.get_objects()` returns them.

    Its subclasses are known by their ``id()``, in C throughout: of a million objects in 0.04 s,
    where to ask each takes 0.065 s. Their own hash is no way, a metaclass may define it.
    """
    kinds: dict[int, type] = {id(one): one for one in _with_subclasses(cast(type, kind))}
    return list(compress(things, map(kinds.__contains__, map(id, map(type, things)))))


_T = TypeVar("_T")


def _with_subclasses(kind: type) -> Iterator[type]:
    yield kind
    one: type
    for one in type.__subclasses__(kind):
        yield from _with_subclasses(one)


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


def class_name(thing: Any) -> str:
    """The qualified name of an object's own class, ``redis.asyncio.client.Redis``."""
    kind = type(thing)
    return ".".join(filter(None, (module_of(kind), _QUALNAME.__get__(kind))))


_MODULE: Any = vars(type)["__module__"]
_QUALNAME: Any = vars(type)["__qualname__"]


def is_mass(thing: Any, most: int) -> bool:
    """Whether something is a container of more than so many things: data, and nobody's clients."""
    return type(thing) in _CONTAINERS and len(thing) > most
