"""What keeps code that ran once from running again: a flag, an entry, a cache.

``if not self._started: self._started = True; create_task(...)``. Such a guard has a hundred
shapes: a global, an attribute, a class's, a function's own, a closure's variable; a dictionary or a
set with an entry; an Event; a cached function. What they have in common is that the function looks
at a place before it comes to the call, and that the way was free then and is barred now. The
bytecode says where it looks (`pytest_loopsafe._graph.looks`), the heap what is there.
"""

from __future__ import annotations

import builtins
import functools
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import CodeType, FunctionType
from typing import Any, TypeGuard

from pytest_loopsafe._bytecode.places import UNKNOWN, Asked, Place
from pytest_loopsafe._bytecode.room import limited_by
from pytest_loopsafe._graph.asking import ORDER, answer_to, is_set
from pytest_loopsafe._graph.kinds import is_a, kind_of_store
from pytest_loopsafe._graph.links import LRU_CACHE, attributes, own_dict
from pytest_loopsafe._graph.looks import Doings, doings, ended_by, looks, only_looks
from pytest_loopsafe._graph.roots import users_roots
from pytest_loopsafe._graph.starters import Starter
from pytest_loopsafe._graph.walk import Walk
from pytest_loopsafe._words.stacks import is_library, is_method
from pytest_loopsafe._words.weak import nowhere

Keeper = Callable[[Any], str | None]
"""Tells the path by which the user's own globals reach an object; None where they do not."""


@dataclass(frozen=True)
class Guard:
    """A place that bars the way to a call now. For the moment only: it refers to live objects.

    Attributes:
        path: how a global reaches it.
        place: where the function looks.
        value: what is there.
        is_set: whether it can say that something has been done. What is empty, zero or None, and
            bars the way all the same, says that there is nothing to do.
        is_flag: whether the function only asks and writes it. What it reads besides stands for
            itself: an entry of a cache is there because it was computed, not because a task runs.
        is_certain: whether it is known to bar the way, and not only for those who ask for the same
            entry, or in another closure of the same code.
    """

    path: str
    place: Place
    value: Any
    is_set: bool
    is_flag: bool
    is_certain: bool


def guards_of(starter: Starter, bearers: Sequence[Any], kept: Keeper) -> Iterator[Guard]:
    """What keeps a function from coming to its call again.

    It reads the whole heap for the functions of the code, if it looks at what is in a closure.

    Args:
        starter: the function.
        bearers: the objects whose method it may be.
        kept: tells whether a global reaches an object.
    """
    seen, function = looks(starter.code, starter.offset), _Function(starter, bearers, kept)
    for look in seen.before:
        asked = look.asked
        if asked is None:
            continue
        place = asked.place
        if asked.how == "in" and asked.argument is UNKNOWN and place not in seen.filled:
            continue  # a table of constants: another key than then may be in it
        for path, where, value, answer in function.answers(asked):
            if answer is look.bars:
                is_flag = not any(one.is_in(place) for one in seen.read)
                is_certain = not _is_of_an_entry(asked) and not function.is_one_of_many(place)
                yield Guard(path, where, value, is_set(value), is_flag, is_certain)


def _is_of_an_entry(asked: Asked) -> bool:
    """Whether it was asked for an entry, and nobody knows which."""
    return asked.argument is UNKNOWN and asked.how in ("in", "[]", "get", "pop")


def set_back_by(starter: Starter, bearers: Sequence[Any], kept: Keeper) -> set[str]:
    """The paths of what a function changes on its way to the call, and changes again after it.

    By its own instructions, or by those of a function that it calls.
    """
    function = _Function(starter, bearers, kept)
    before, after = (function.changed_by(one) for one in doings(starter.code, starter.offset))
    return before & after


def tested_in(
    starter: Starter, bearers: Sequence[Any], kept: Keeper, holders: Sequence[Any], work: Any
) -> str | None:
    """The path of what a function tests that is the work itself, or holds it; None where it is not.

    What holds it counts only where the way depends on it (``len(self.workers) < 2``).
    """
    seen, function = looks(starter.code, starter.offset), _Function(starter, bearers, kept)
    decisive = {look.asked.place for look in seen.before if look.asked is not None}
    for place in seen.tested:
        for path, value in function.at(place):
            holds = place in decisive and any(value is one for one in holders)
            if value is work or (holds and kind_of_store(value) is not None):
                return path
    return None


def is_unconditional(starter: Starter) -> bool:
    """Whether a function comes to its call whenever it runs: what barred the way was further in."""
    seen = looks(starter.code, starter.offset)
    return not seen.before and not seen.by_error


def is_on_demand(starter: Starter) -> bool:
    """Whether nothing that lasts decides on the call: what the function was given, or an error."""
    code, seen = starter.code, looks(starter.code, starter.offset)
    if not seen.before:
        return seen.by_error
    given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    arguments = {Place("local", name) for name in given}
    tests = [look.asked for look in seen.before]
    return all(one is not None and {one.place, one.other} <= {*arguments, None} for one in tests)


def ends(starter: Starter, task: Any, bearers: Sequence[Any]) -> bool:
    """Whether the function that starts a task goes on to cancel it: nobody else relies on it."""
    function = _Function(starter, bearers, lambda _: "")
    places = ended_by(starter.code, starter.offset)
    return any(value is task for place in places for _, value in function.at(place))


def asks(starter: Starter, thing: Any, bearers: Sequence[Any]) -> bool:
    """Whether a function asks an object how it is (``task.done()``) before it comes to its call.

    Such code starts again what is dead, once it is called: what it keeps does not lie.
    """
    function = _Function(starter, bearers, lambda _: "")
    return any(
        value is thing
        for look in looks(starter.code, starter.offset).before
        if look.asked is not None and look.asked.how not in _OF_THE_PLACE
        for _, value in function.at(look.asked.place)
    )


_OF_THE_PLACE = ("truth", "in", "among", "is", "[]", "=", *ORDER, *(f"len{one}" for one in ORDER))


def cache_of(starters: Sequence[Starter]) -> str | None:
    """The ``functools.cache`` that answers in the place of one of these functions; or None."""
    for starter in starters:
        for function in _functions(starter.code):
            for holder in gc.get_referrers(function):
                is_its = type(holder) is LRU_CACHE and holder.__wrapped__ is function
                if is_its and holder.cache_info().currsize:
                    return f"the cache of {function.__module__}.{function.__qualname__}()"
    return None


def kept_result(starters: Sequence[Starter], kept: Keeper) -> str | None:
    """What has the result of one of these functions, and so keeps it from running again; or None.

    A module that was imported, or the place of a ``functools.cached_property``.
    """
    for starter in starters:
        code, bearer = starter.code, starter.bearer()
        if code.co_name == "<module>" and starter.module in sys.modules:
            return f"sys.modules[{starter.module!r}]"
        for base in type.mro(type(bearer)) if code.co_name in attributes(bearer) else ():
            kept_by = vars(base).get(code.co_name)
            if type(kept_by) is functools.cached_property and kept_by.func in _functions(code):
                return f"{kept(bearer)}.{code.co_name}"
    return None


def _functions(code: CodeType) -> list[FunctionType]:
    return [
        one for one in gc.get_referrers(code) if type(one) is FunctionType and one.__code__ is code
    ]


def keeps_short(chain: Sequence[Any]) -> bool:
    """Whether something on a way from holder to holder is kept short by who puts things into it.

    It looks through what the user's globals reach for the functions that do so. What is longer than
    they allow gets something from others too.
    """
    sizes = {id(one): kind.__len__(one) for one in chain if (kind := kind_of_store(one))}
    roots = (root for root, _ in users_roots(()))
    for level in Walk([*roots, *chain]).levels if sizes else ():
        for one in filter(_measures, level):
            starter = Starter(one.__code__, 0, one.__module__, nowhere)
            function = _Function(starter, chain, lambda _: "")
            for place, limit in limited_by(one.__code__):
                limits = [limit] if isinstance(limit, int) else [n for _, n in function.at(limit)]
                most = max((n for n in limits if type(n) is int), default=_MANY)
                if any(
                    sizes.get(id(there), _MANY + 2) <= most + 1 for _, there in function.at(place)
                ):
                    return True
    return False


_MANY = sys.maxsize
"""A limit that only a run would tell."""


def _measures(thing: Any) -> bool:
    return _is_users_function(thing) and "len" in thing.__code__.co_names


# -- what is at a place ----------------------------------------------------------------------------


class _Function:
    """A function whose variables are looked at, without running it."""

    def __init__(self, starter: Starter, bearers: Sequence[Any], kept: Keeper) -> None:
        self._starter = starter
        self._bearers = bearers
        self._kept = kept

    def at(self, place: Place) -> Iterator[tuple[str, Any]]:
        """What a place holds now, with the path to it."""
        for path, value in self._variable(place.scope, place.name):
            for name in place.attributes:
                path, value = f"{path}.{name}", _attribute(value, name)
            if value is not UNKNOWN:
                yield path, value

    def answers(self, asked: Asked) -> Iterator[tuple[str, Place, Any, bool | None]]:
        """What a test would give now: the path, the place, what is there, and the answer.

        Through a property or a method of the user's that does nothing but look at a place itself.
        """
        for path, value in self.at(asked.place):
            inner = _looked_at_by(member(type(value), asked.how))
            if inner is None:
                yield path, asked.place, value, answer_to(self._complete(asked), value)
            else:
                yield from self._through(path, asked.place, value, inner)
        if asked.place.attributes:
            holder = replace(asked.place, attributes=asked.place.attributes[:-1])
            for path, value in self.at(holder):
                found = member(type(value), asked.place.attributes[-1])
                inner = _looked_at_by(found.fget) if type(found) is property else None
                if inner is not None and asked.how == "truth":
                    yield from self._through(path, holder, value, inner)
                elif inner is not None and inner.how == "truth" and not inner.negated:
                    inner = replace(self._complete(asked), place=inner.place, negated=False)
                    yield from self._through(path, holder, value, inner)

    def _through(
        self, path: str, holder: Place, value: Any, inner: Asked
    ) -> Iterator[tuple[str, Place, Any, bool | None]]:
        for name in inner.place.attributes:
            path, holder, value = f"{path}.{name}", holder.attribute(name), _attribute(value, name)
        answer = answer_to(inner, value) if value is not UNKNOWN else None
        yield path, holder, value, answer if answer is None else answer is not inner.negated

    def changed_by(self, done: Doings) -> set[str]:
        """The paths of what is changed, also by the functions that are called."""
        changed = {path for place in done.changed for path, _ in self.at(place)}
        for place in done.called:
            for bearers, called in self._functions_at(place):
                code, module = called.__code__, called.__module__
                helper = _Function(Starter(code, 0, module, nowhere), bearers, self._kept)
                inner, _ = doings(code)
                changed |= {path for one in inner.changed for path, _ in helper.at(one)}
        return changed

    def _functions_at(self, place: Place) -> Iterator[tuple[tuple[Any, ...], FunctionType]]:
        """A function of the user's, or one that is a method, with the object whose method it is."""
        if not place.attributes:
            yield from (((), value) for _, value in self.at(place) if _is_users_function(value))
            return
        *way, name = place.attributes
        for _, bearer in self.at(replace(place, attributes=tuple(way))):
            kind = bearer if is_a(bearer, type) else type(bearer)
            found = member(kind, name)
            if type(found) in (classmethod, staticmethod):
                bearer, found = kind, found.__func__
            if _is_users_function(found):
                yield (bearer,), found

    def is_one_of_many(self, place: Place) -> bool:
        """Whether it is a variable of one closure among others that have one of that name."""
        return place.scope == "cell" and len(self._functions) > 1

    def _complete(self, asked: Asked) -> Asked:
        """With what is in the place of the other side."""
        others = [] if asked.other is None else [value for _, value in self.at(asked.other)]
        return replace(asked, argument=others[0], other=None) if len(others) == 1 else asked

    def _variable(self, scope: str, name: str) -> Iterator[tuple[str, Any]]:
        code, module = self._starter.code, self._starter.module
        if scope == "global":
            names = own_dict(sys.modules.get(module))
            if names is None:  # a script that was run by name, a cell of a notebook
                names = next((one.__globals__ for one in self._functions), {})
            if name in names:
                yield f"{module}.{name}".lstrip("."), names[name]
        elif scope == "cell" and name in code.co_freevars:
            for function in self._functions:
                cell = (function.__closure__ or ())[code.co_freevars.index(name)]
                where = function.__qualname__.rpartition(".<locals>")[0] or function.__module__
                with suppress(ValueError):  # an empty cell
                    yield f"{where}.<locals>.{name}", cell.cell_contents
        elif is_method(code) and name == code.co_varnames[0]:
            for bearer in self._bearers:
                path = self._kept(bearer) if gc.is_tracked(bearer) else None
                if path is not None:
                    yield path, bearer

    @functools.cached_property
    def _functions(self) -> list[FunctionType]:
        return _functions(self._starter.code)


def _attribute(thing: Any, name: str) -> Any:
    """An attribute that an object or its class has, without running code."""
    if is_a(thing, type):
        found = member(thing, name)
    else:
        found = attributes(thing).get(name, UNKNOWN)
        if found is not UNKNOWN:
            return found
    if found is UNKNOWN:
        found = member(type(thing), name)
    computed = any("__get__" in vars(one) for one in type.mro(type(found)))
    return UNKNOWN if computed else found


def global_of(module: str, path: Sequence[str]) -> Any:
    """What a name stands for in a module, or an attribute of that; UNKNOWN where it takes code."""
    names, (name, *attributes) = own_dict(sys.modules.get(module)) or {}, path
    value = names.get(name, vars(builtins).get(name, UNKNOWN))
    for name in attributes:
        value = _attribute(value, name) if value is not UNKNOWN else UNKNOWN
    return value


def member(kind: type, name: str) -> Any:
    """What a class, or a base of it, has by a name."""
    bases = type.mro(kind)
    return next((vars(base)[name] for base in bases if name in vars(base)), UNKNOWN)


def _is_users_function(thing: Any) -> TypeGuard[FunctionType]:
    return type(thing) is FunctionType and not is_library(thing.__code__.co_filename)


def _looked_at_by(function: Any) -> Asked | None:
    return only_looks(function.__code__) if _is_users_function(function) else None
