"""Entries for one loop: what is in them is no use to other loops, which have their own."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections import deque
from types import AsyncGeneratorType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from pytest_loopsafe._graph import links
from pytest_loopsafe._graph.kinds import is_a
from pytest_loopsafe._words.stacks import local_variables


def in_own_slot(chain: tuple[Any, ...], loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a path leads through a mapping's entry for this very loop.

    Such an entry is no use to other loops: they have entries of their own. The key may be the
    loop, a weak reference to it, its ``id()``, or a tuple with one of these.
    """
    for holder, held in itertools.pairwise(chain):
        if is_a(holder, dict):
            for key, value in dict.copy(holder).items():
                if value is held and is_key_of(key, loop):
                    return True
    return False


def in_weak_slot(thing: Any, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a WeakKeyDictionary's entry for this loop leads to an object.

    Such an entry goes with its loop, so this is asked while the loop exists. A loop knows its weak
    references, and the one that is a dictionary's key knows the dictionary: nothing is searched.
    """
    for ref in weakref.getweakrefs(loop):
        defaults = getattr(ref.__callback__, "__defaults__", None) or ()
        for default in defaults:
            mapping = default() if type(default) is weakref.ref else None
            if is_a(mapping, weakref.WeakKeyDictionary):
                data = links.attributes(mapping).get("data")
                if type(data) is dict and _leads_to(data.get(ref), thing):
                    return True
    return False


def in_named_slot(generator: AsyncGeneratorType[Any, Any], loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a dictionary's entry for this loop leads to a generator that may take itself out.

    When all rests, such an entry is gone. So this is asked before the generator is closed, and
    nothing is searched: whatever takes out the entry has the dictionary in a variable, or in an
    attribute of what is in one; the generator itself, or a function that it names.
    """
    frame = generator.ag_frame
    if frame is None:
        return False
    known = [*local_variables(frame).values(), *_named_in(frame.f_code, frame.f_globals)]
    for one in known[:_MAX_PARTS]:
        if type(one) is FunctionType:
            known += _named_in(one.__code__, one.__globals__)
    held = (two for one in known[:_MAX_PARTS] for two in (one, *links.attributes(one).values()))
    return any(
        is_key_of(key, loop) and _leads_to(value, generator)
        for one in held
        if is_a(one, dict) and dict.__len__(one) <= _MAX_PARTS
        for key, value in dict.copy(one).items()
    )


def _named_in(code: CodeType, names: dict[str, Any]) -> list[Any]:
    return [names[name] for name in code.co_names if name in names]


def _leads_to(start: Any, thing: Any) -> bool:
    pending, seen = deque([start]), {id(start)}
    while pending and len(seen) < _MAX_PARTS:
        one = pending.popleft()
        if one is thing:
            return True
        for held in gc.get_referents(one) if gc.is_tracked(one) else ():
            if id(held) not in seen and not is_a(held, _NOT_ENTERED):
                seen.add(id(held))
                pending.append(held)
    return False


_MAX_PARTS = 1_000
_NOT_ENTERED = (type, ModuleType, FrameType, FunctionType, asyncio.AbstractEventLoop)


def is_key_of(key: Any, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a mapping's key stands for a loop."""
    if type(key) is tuple:
        return any(is_key_of(part, loop) for part in key)
    if is_a(key, weakref.ref):
        return key() is loop
    return key is loop or (type(key) is int and key == id(loop))
