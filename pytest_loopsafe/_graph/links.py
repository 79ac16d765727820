"""How one object holds another, written as Python that a reader could type.

The collector knows *that* one object refers to another, for C types too, but not by which name.
The name is found again here, by looking where the parent's type keeps things. Only places that can
be read without running anybody's code are looked at: the instance's dictionary, its slots,
containers of the builtin types, closures, suspended frames. Properties, ``__getattr__`` and
``repr`` are never called: the code under test must not notice that it was searched.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import (
    AsyncGeneratorType,
    CellType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.kinds import is_a
from pytest_loopsafe._words.attributes import attributes as attributes
from pytest_loopsafe._words.attributes import own_dict as own_dict
from pytest_loopsafe._words.stacks import local_variables

LRU_CACHE: type[Any] = type(functools.lru_cache(maxsize=1)(lambda: None))
_WEAK_MAPPINGS: tuple[Any, ...] = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
_LONGEST_KEY = 40
_UNSEEN = 5
"""A hop that the user sees leads over at most so many objects (a thread-local's are three)."""

UNNAMED = "gc.get_referents("
"""Where a path has this, it leads through what has no name."""

NameLoop = Callable[[Any], str | None]
"""Tells the name of a loop, or of the loop whose ``id()`` a number is; None for anything else."""


def write(chain: Sequence[Any], start: str, name_loop: NameLoop) -> str:
    """The expression for the last object of a chain, each of which holds the next.

    Args:
        chain: the objects, from the outermost on; a dictionary there is a module's globals.
        start: the expression for the first of them, ``app``.
        name_loop: names loops that are keys.

    Returns:
        ``app.client.pool[0]``. Where a type hides its parts, the collector's own view is what one
        can type: ``gc.get_referents(app.channel)[2]``.
    """
    text, index = start, 0
    if len(chain) > 1 and type(chain[0]) is dict:
        name = next((key for key, value in chain[0].copy().items() if value is chain[1]), None)
        text, index = f"{start}.{name}" if name else start, 1
    while index + 1 < len(chain):
        step, suffix = 1, _suffix(chain[index], chain[index + 1], name_loop)
        if not suffix:
            # A part that the user does not see, such as __dict__: go on from the parent.
            for further in range(2, min(_UNSEEN, len(chain) - index)):
                through = _suffix(chain[index], chain[index + further], name_loop)
                if through is not None:
                    step, suffix = further, through
                if through:
                    break
        if suffix is None:
            text = _as_referent(chain[index], chain[index + 1], text)
        else:
            text += suffix
        index += step
    return text


def _suffix(parent: Any, child: Any, name_loop: NameLoop) -> str | None:
    return next((text for held, text in _parts(parent, name_loop) if held is child), None)


def _as_referent(parent: Any, child: Any, before: str) -> str:
    for index, referent in enumerate(gc.get_referents(parent)):
        if referent is child:
            return f"{UNNAMED}{before})[{index}]"
    return f"{before}.<{type(child).__qualname__}>"


def _parts(parent: Any, name_loop: NameLoop) -> Iterator[tuple[Any, str]]:
    """What an object holds directly, each with the text that leads to it."""
    if is_a(parent, dict):
        yield from _items(parent, name_loop)
    elif is_a(parent, _WEAK_MAPPINGS):
        yield parent.data, ""
    elif is_a(parent, list):
        yield from ((one, f"[{index}]") for index, one in enumerate(list.copy(parent)))
    elif is_a(parent, tuple):
        yield from ((one, f"[{index}]") for index, one in enumerate(tuple.__iter__(parent)))
    elif is_a(parent, deque):
        yield from ((one, f"[{index}]") for index, one in enumerate(deque.copy(parent)))
    elif is_a(parent, set | frozenset):
        yield from (
            (one, f".<element {key_text(one, name_loop)}>") for one in gc.get_referents(parent)
        )
    elif is_a(parent, CellType):
        try:
            yield parent.cell_contents, ".cell_contents"
        except ValueError:
            return
    elif is_a(parent, FunctionType):
        yield from _of_function(parent)
    elif is_a(parent, MethodType):
        yield from ((parent.__self__, ".__self__"), (parent.__func__, ".__func__"))
    elif is_a(parent, LRU_CACHE):
        yield from _of_cache(parent, name_loop)
    elif is_a(parent, contextvars.ContextVar):
        yield from ((one, ".get()") for one in gc.get_referents(parent))  # its default
    elif is_a(parent, contextvars.Context):
        yield from ((value, f"[{_variable(var)}]") for var, value in parent.items())
    elif is_a(parent, GeneratorType | CoroutineType | AsyncGeneratorType):
        yield from _of_suspended(parent)
    elif is_a(parent, asyncio.Future):
        yield from _cpython.future_parts(parent)
    elif is_a(parent, threading.local):
        yield from _of_threads(parent)
    elif is_a(parent, staticmethod | classmethod):
        yield parent.__func__, ".__func__"
    elif is_a(parent, type):
        yield from ((one, "") for one in gc.get_referents(parent) if type(one) is dict)
        yield from ((value, f".{name}") for name, value in vars(parent).copy().items())
    if not is_a(parent, type | ModuleType):
        dictionary = own_dict(parent)
        if dictionary is not None:
            yield dictionary, ""
        yield from ((value, f".{name}") for name, value in attributes(parent).items())
        yield type(parent), ".__class__"


def _items(parent: dict[Any, Any], name_loop: NameLoop) -> Iterator[tuple[Any, str]]:
    for key, value in dict.copy(parent).items():
        text = f"[{key_text(key, name_loop)}]"
        yield value, text
        yield key, f".<key {key_text(key, name_loop)}>"


def _of_function(function: FunctionType) -> Iterator[tuple[Any, str]]:
    yield function.__closure__, ""
    for index, cell in enumerate(function.__closure__ or ()):
        yield cell, f".__closure__[{index}]"
    yield function.__defaults__, ".__defaults__"
    yield function.__kwdefaults__, ".__kwdefaults__"


def _of_cache(cache: Any, name_loop: NameLoop) -> Iterator[tuple[Any, str]]:
    """To the user of a C ``lru_cache`` a value in it is what a call returns.

    The cache maps keys to the values themselves where it has no limit, else to links that the
    collector does not look into: then it names the value, and the key only where there is one.
    """
    referents = gc.get_referents(cache)
    keys: list[Any] = []
    for inner in referents:
        if type(inner) is dict and inner is not own_dict(cache):
            yield inner, ""
            keys = list(inner)
            yield from (
                (value, f"({_arguments(key, name_loop)})") for key, value in inner.copy().items()
            )
    only = _arguments(keys[0], name_loop) if len(keys) == 1 else "…"
    for value in referents:
        if type(value) is not dict and value is not getattr(cache, "__wrapped__", None):
            yield value, f"({only})"


def _arguments(key: Any, name_loop: NameLoop) -> str:
    parts = tuple(key) if is_a(key, tuple | list) else (key,)
    return ", ".join(key_text(one, name_loop) for one in parts)


def _of_threads(local: threading.local) -> Iterator[tuple[Any, str]]:
    """What each thread has put into a ``threading.local``, by the name it has there.

    It lists the threads' dictionaries under what stands for the thread.
    """
    for listed in gc.get_referents(local):
        if type(listed) is dict and all(type(names) is dict for names in listed.values()):
            yield listed, ""
            for names in listed.copy().values():
                yield names, ""
                yield from ((value, f".{name}") for name, value in names.copy().items())


def _of_suspended(suspended: Any) -> Iterator[tuple[Any, str]]:
    for prefix in ("gi", "cr", "ag"):
        frame = getattr(suspended, f"{prefix}_frame", None)
        if frame is not None:
            for name, value in local_variables(frame).items():
                yield value, f".{prefix}_frame.f_locals['{name}']"
        inner = getattr(suspended, {"gi": "gi_yieldfrom"}.get(prefix, f"{prefix}_await"), None)
        if inner is not None:
            yield inner, f".{'gi_yieldfrom' if prefix == 'gi' else prefix + '_await'}"


def _variable(var: contextvars.ContextVar[Any]) -> str:
    return f"<ContextVar {var.name!r}>"


def key_text(key: Any, name_loop: NameLoop) -> str:
    """A key as a reader would write it; never by calling the ``repr`` of somebody's class."""
    if is_a(key, weakref.ref):
        target = key()
        return f"<{name_loop(target) or type(target).__qualname__}>"
    named = name_loop(key)
    if named is not None:
        return f"<{named}>"
    if type(key) is tuple:
        return f"({', '.join(key_text(one, name_loop) for one in key)})"
    if type(key) in (str, bytes, int, float, bool, type(None)):
        text = repr(key)
        return text if len(text) <= _LONGEST_KEY else f"{text[: _LONGEST_KEY - 1]}…"
    return f"<{type(key).__qualname__}>"
