"""Who keeps a task that nobody runs at this moment.

The loop itself refers to a task weakly: what holds it is what it waits for, by the method that will
wake it, and what it has entered (``asyncio.timeout()``, a library's cancel scope). Whoever else
holds it, wherever that is, has it for a purpose. The one exception is the container that exists to
hold it until it is done: the task's own callback takes it out of there.

So its holders are followed upwards, through containers, functions and the objects of libraries,
until each way ends at the task itself, at the loop, in a library's module; or at something of the
user's. A variable of a function that runs is not shown by the collector. It is told by the
reference count, which is higher then than what the collector has met.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import (
    AsyncGeneratorType,
    BuiltinMethodType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.kinds import module_of
from pytest_loopsafe._graph.links import attributes
from pytest_loopsafe._words.stacks import is_library, module_file, suspended_chain, users_here

_MAX_LOOKED_AT = 30
"""So many holders are looked at, each by a reading of the heap; who has more is kept."""

_CONTAINERS = (set, list, dict, tuple, deque)
_CALLBACKS = (FunctionType, MethodType)
"""Kinds of objects that a C future of CPython 3.11 holds without showing it to the collector."""

_RUNS = (CoroutineType, GeneratorType, AsyncGeneratorType, FrameType)


def _reference_of_a_variable() -> int:
    thing = object()
    return sys.getrefcount(thing)


_OURS = _reference_of_a_variable()


def is_kept(ref: Callable[[], Any]) -> bool:
    """Whether anybody keeps a task, beside what it waits for and what it has entered.

    Args:
        ref: leads to the task, which nobody may hold for us.
    """
    if _is_at_hand(ref):
        return True
    pending = [ref()]
    if pending[0] is None:
        return False  # in a circle with itself, it was collected in this moment
    own = {id(one) for one in (*suspended_chain(pending[0].get_coro()), *_emptied_by(pending[0]))}
    own |= {id(pending[0]), id(own), id(pending)}
    seen: set[int] = set()
    mark = object()
    while pending:
        thing, met = pending.pop(), 0
        found = gc.get_referrers(thing, mark)
        for holder in found:
            if type(holder) is tuple and holder and holder[-1] is mark:
                continue  # on 3.13, the arguments of the search
            if id(holder) == id(pending):
                continue
            times = list(map(id, gc.get_referents(holder))).count(id(thing))
            if times and id(holder) not in own and not _ends_at_machinery(holder, thing):
                if _is_of_user(holder):
                    return True
                if id(holder) not in seen:
                    seen.add(id(holder))
                    pending.append(holder)
            met += times
        del found[:]
        holder = None
        if type(thing) not in _CALLBACKS and sys.getrefcount(thing) - _OURS > met:
            return True
        if len(seen) > _MAX_LOOKED_AT:
            return True
    return False


def _is_at_hand(ref: Callable[[], Any]) -> bool:
    """Whether an object of the user's, a method of which runs now, has a task as its attribute.

    As a class does that runs a loop. To know that much the heap (20 ms) need not be read.
    """
    task = ref()
    return task is not None and any(
        _is_of_user(user) and any(value is task for value in attributes(user).values())
        for user in users_here()
    )


def is_held_until_done(task: Any) -> bool:
    """Whether a container has a task until its own callback takes it out of there.

    That is what asyncio's documentation says to do with a task that nobody awaits. Who has such a
    container may look at it, and wait until it is empty.
    """
    holders = (one for one in _emptied_by(task) if type(one) in _CONTAINERS)
    return any(part is task for one in holders for part in gc.get_referents(one))


def _ends_at_machinery(holder: Any, thing: Any) -> bool:
    """Whether a holder is what makes the task go on, the loop's, or a library's for all tasks."""
    if _cpython.goes_on_by(holder) is thing and issubclass(type(thing), asyncio.Future):
        return True
    if type(holder) is dict:
        module = sys.modules.get(str(holder.get("__name__"))) if "__name__" in holder else None
        return _cpython.namespace_of(module) is holder and _is_library_module(module)
    return issubclass(type(holder), asyncio.AbstractEventLoop | asyncio.Handle)


def _is_of_user(holder: Any) -> bool:
    """Whether a holder is the user's own; what is of the interpreter's is somebody else's again."""
    kind = type(holder)
    if kind in _RUNS:
        return True
    if kind is dict and "__name__" in holder and "__spec__" in holder:
        return True
    if issubclass(kind, ModuleType | type):
        return True
    module = module_of(kind)
    return module != "builtins" and not is_library(module_file(module))


def _is_library_module(module: Any) -> bool:
    file = _cpython.namespace_of(module).get("__file__", "<frozen")
    return type(file) is str and is_library(file)


def _emptied_by(task: Any) -> Iterator[Any]:
    """The containers that the task's own callbacks know of, so that they can take it out."""
    for callback in _cpython.callbacks_of(task):
        while type(callback) is functools.partial:
            callback = callback.func
        if type(callback) is BuiltinMethodType:
            yield callback.__self__
            continue
        names: dict[str, Any] = {}
        if type(callback) is MethodType:
            names, callback = attributes(callback.__self__), callback.__func__
        if type(callback) is FunctionType and not is_library(callback.__code__.co_filename):
            known = gc.get_referents(*(callback.__closure__ or ()))
            for name in callback.__code__.co_names:
                known += (callback.__globals__.get(name), names.get(name))
            yield from (one for one in known if type(one) in _CONTAINERS)
