"""What an object has, read past whatever its class may run when it is asked.

Properties, ``__getattr__`` and ``__class__`` are never called: an object's dictionary and its slots
are read by the interpreter's own means.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import MemberDescriptorType
from typing import Any


def is_a(thing: object, kinds: Any) -> bool:
    """Whether an object's own type is one of `kinds`, as ``isinstance()`` takes them."""
    return issubclass(type(thing), kinds)


def is_just_a(thing: object, kinds: tuple[type, ...]) -> bool:
    """Whether an object's type is one of these and no subclass; a metaclass may say how to compare.

    ``type(thing) in kinds`` would ask it, in the middle of the code under test.
    """
    kind = type(thing)
    return any(kind is one for one in kinds)


def is_plain_local(kind: type) -> bool:
    """Whether to read the variables of a class's instances in a thread runs no code of theirs."""
    return issubclass(kind, threading.local) and all(
        "__init__" not in vars(base) for base in kind.__mro__[: kind.__mro__.index(threading.local)]
    )


def is_of_class_statement(kind: type) -> bool:
    """Whether a class is somebody's own, not one of C code."""
    return kind.__flags__ & _HEAP_TYPE != 0


_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: the class was made by a class statement."""


def own_dict(thing: Any) -> dict[str, Any] | None:
    """The object's ``__dict__`` itself, past any ``__getattribute__``; None where it has none."""
    is_local = is_a(thing, threading.local)
    if is_local and not is_plain_local(type(thing)):
        return None  # its constructor runs for each thread that asks
    read = threading.local if is_local else object
    try:
        dictionary = read.__getattribute__(thing, "__dict__")
    except (AttributeError, TypeError):
        return None
    return dictionary if is_a(dictionary, dict) else None


def attributes(thing: Any) -> dict[str, Any]:
    """The attributes that an object has of its own, dictionary and slots, without running code."""
    found: dict[str, Any] = {}
    dictionary = own_dict(thing)
    if dictionary is not None:
        found.update((str(name), value) for name, value in dictionary.copy().items())
    for base in type(thing).__mro__:
        for name, member in vars(base).items():
            if isinstance(member, MemberDescriptorType):
                try:
                    found.setdefault(name, member.__get__(thing, type(thing)))
                except AttributeError:  # a slot that was never filled
                    continue
    return found


def attribute(thing: Any, name: str) -> Any:
    """What an object has under a name, or its class has for all of them; None where nothing is."""
    if name == "__dict__":
        return own_dict(thing)
    for names in _namespaces(thing):
        if name in names:
            value = names[name]
            if type(value) is not MemberDescriptorType or is_a(thing, type):
                return value
            try:
                return value.__get__(thing, type(thing))
            except AttributeError:  # a slot that is empty
                return None
    return None


def _namespaces(thing: Any) -> Iterator[Any]:
    """Where its attributes are looked up, one after the other."""
    if is_a(thing, type):
        yield from map(_NAMESPACE.__get__, type.mro(thing))
        return
    own = own_dict(thing)
    if own is not None:
        yield own
    yield from map(_NAMESPACE.__get__, type.mro(type(thing)))


_NAMESPACE: Any = vars(type)["__dict__"]
