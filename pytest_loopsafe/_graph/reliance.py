"""What background work had to do with, and whether something still relies on it once it is dead.

A task's frames are gone when its loop has ended. So what they refer to is noted just before,
weakly: whose method it is, what is in its variables, its queues, the event that it waits for.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import CodeType, FrameType, FunctionType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._bytecode.places import changed_by, name_of
from pytest_loopsafe._graph.guards import Guard, member
from pytest_loopsafe._graph.kinds import entries_of, is_a, is_future
from pytest_loopsafe._graph.links import attributes, own_dict
from pytest_loopsafe._graph.looks import looks
from pytest_loopsafe._graph.owners import Owner
from pytest_loopsafe._graph.starters import Starter
from pytest_loopsafe._words.attributes import is_of_class_statement as is_of_class_statement
from pytest_loopsafe._words.stacks import first_argument, is_library, local_variables, users_of

_MAX_PARTS = 100


@dataclass(frozen=True)
class Surroundings:
    """What a suspended task has to do with.

    Attributes:
        codes: the user's functions that are suspended in it, the outermost first.
        parts: what is in their variables, and the objects whose methods they are.
        inboxes: the queues that it has, and the event that it waits for.
    """

    codes: tuple[CodeType, ...] = ()
    parts: tuple[weakref.ref[Any], ...] = ()
    inboxes: tuple[weakref.ref[Any], ...] = ()

    def has(self, thing: Any) -> bool:
        """Whether an object is one of the parts."""
        return any(ref() is thing for ref in self.parts)


def surroundings(coroutine: Any, frames: Iterable[FrameType]) -> Surroundings:
    """What a suspended coroutine has to do with; it searches nothing."""
    codes: list[CodeType] = []
    parts: list[Any] = list(users_of(coroutine))
    inboxes = [one for one in parts if is_a(one, asyncio.Queue | asyncio.Event)]
    for frame in frames:
        code = frame.f_code
        if not is_library(code.co_filename):
            codes.append(code)
            own = list(local_variables(frame).values())
            named = [frame.f_globals[name] for name in code.co_names if name in frame.f_globals]
            held = [two for one in own for two in _held_by(one)]
            inboxes += [one for one in (*own, *named, *held) if is_a(one, asyncio.Queue)]
            parts += own
    return Surroundings(tuple(codes), _weak(parts), _weak(inboxes))


def _held_by(thing: Any) -> Iterable[Any]:
    """What is in an object's own attributes."""
    return attributes(thing).values() if is_of_class_statement(type(thing)) else ()


def _weak(things: Iterable[Any]) -> tuple[weakref.ref[Any], ...]:
    found: dict[int, weakref.ref[Any]] = {}
    for thing in things:
        if len(found) < _MAX_PARTS and id(thing) not in found:
            with suppress(TypeError):  # a class without weak references
                found[id(thing)] = weakref.ref(thing)
    return tuple(found.values())


def unread(queue: Any) -> tuple[Any, ...]:
    """What is in a queue, without calling a subclass's methods. For the moment only."""
    return entries_of(attributes(queue).get(_cpython.QUEUE_ITEMS))


def is_unheard(inbox: Any) -> bool:
    """Whether a queue has something in it, or an event is set."""
    if is_a(inbox, asyncio.Queue):
        return bool(unread(inbox))
    return type(inbox) is asyncio.Event and inbox.is_set()


def is_work(items: tuple[Any, ...]) -> bool:
    """Whether anything is lost with these items, or whether they are mere wake-ups.

    A wake-up has no content: ``None``, ``True``, a bare ``object()``, a future that is to tell when
    it was heard. Nor has one and the same object, put in again and again; but for text and numbers,
    where equal ones may be the same.
    """
    if len(items) > 1 and type(items[0]) not in _PLAIN and all(one is items[0] for one in items):
        return False
    return not all(map(_is_empty, items))


_PLAIN = (str, bytes, int, float, tuple)


def _is_empty(item: Any) -> bool:
    if type(item) is tuple:
        return not item
    return item is None or type(item) in (bool, object) or is_future(item)


def takes_back(guard: Guard, chain: Sequence[Starter], codes: Iterable[CodeType]) -> bool:
    """Whether a timer changes what bars the way to the next one, so that it is waited for.

    What it calls is a method of what is there (``call_later(60, cache.pop, key)``), or a function
    that writes there or calls one which does: of its module, or of the object that set it.

    Args:
        guard: what bars the way.
        chain: the functions that were running when it was set, the innermost first.
        codes: the functions that it calls.
    """
    name, setter = name_of(guard.place), chain[0]
    given = looks(setter.code, setter.offset).given
    if any(name_of(replace(one, attributes=one.attributes[:-1])) == name for one in given):
        return True
    return any(name in changed_by(code) for code in _reached(codes, setter))


def _reached(codes: Iterable[CodeType], setter: Starter) -> list[CodeType]:
    """Functions, those in them, and those of the setter's module and class that they name."""
    bearer, found = setter.bearer(), list(codes)
    names = own_dict(sys.modules.get(setter.module)) or {}
    for code in found:
        found += [one for one in code.co_consts if type(one) is CodeType]
        for name in code.co_names if len(found) < _MAX_REACHED else ():
            for function in (names.get(name), member(type(bearer), name)):
                if type(function) is FunctionType and function.__code__ not in found:
                    found.append(function.__code__)
    return found


_MAX_REACHED = 20


def is_linked(guard: Guard, starter: Starter, work: Surroundings, owners: Iterable[Owner]) -> bool:
    """Whether what bars the way to work has to do with it, so that the one stands for the other.

    It holds the work; or the work has it, or what is in it, in a variable; or the work's own code
    names it.
    """
    if any(one is guard.value for owner in owners for one in owner.chain):
        return True
    value = guard.value
    contents = tuple(dict.values(value)) if is_a(value, dict) else entries_of(value)
    if any(work.has(one) for one in (value, *contents)):
        return True
    name = (guard.place.name, *guard.place.attributes)[-1]
    return any(
        code.co_filename == starter.code.co_filename and name in (*code.co_names, *code.co_freevars)
        for code in work.codes
    )


def bearer_of(frame: Any) -> Any:
    """The object that a coroutine's method belongs to; None where that is nobody's own."""
    bearer = first_argument(frame) if frame is not None else None
    return bearer if bearer is not None and _has_state(bearer) else None


def _has_state(thing: Any) -> bool:
    """Whether an object is somebody's own, so that who holds it stands for what it runs."""
    return is_of_class_statement(type(thing)) and not issubclass(
        type(thing), asyncio.AbstractEventLoop | weakref.ref
    )
