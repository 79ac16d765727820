"""Where the functions that run now put things: variables, attributes, entries of collections.

Where something will be held is not known while it is made: it is stored when its constructor has
returned. So the places to which the functions that run then write are noted, and looked at later.
What a function writes to is in its bytecode, and read once.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import CellType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from pytest_loopsafe import _cpython
from pytest_loopsafe._bytecode.places import Place as Written
from pytest_loopsafe._bytecode.places import may_store, stored_by
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._words.attributes import attribute, is_a, own_dict
from pytest_loopsafe._words.stacks import (
    Frame,
    first_argument,
    is_library,
    is_method,
    stack_here,
    unnoticed_variables,
)
from pytest_loopsafe._words.weak import Ref, nowhere, weak

_FUNCTIONS = 4
"""So many functions of the user's, from the one that makes it outwards, may store a thing."""


@dataclass(frozen=True, eq=False)
class Place:
    """A variable or an attribute, or the entries of a collection there.

    Attributes:
        name: of the variable or attribute.
        globals: the module's variables, where it is one of them, or is reached from one.
        bearer: the object whose attribute it is, or by whose attributes it is reached; the cell of
            a closure's variable.
        through: the names that lead from there to what has `name`.
        by_index: whether what is under an index of a list there is kept under that: none is added.
    """

    name: str
    globals: dict[str, Any] | None = None
    bearer: Ref = nowhere
    through: tuple[str, ...] = ()
    by_index: bool = True

    @property
    def holder(self) -> Any:
        """What has the name: variables of a module or this thread, or an object, if not gone."""
        holder = self.bearer() if self.globals is None else self.globals
        for name in self.through:
            holder = _content(holder, name)
            if is_a(holder, ModuleType):
                holder = own_dict(holder)
        return own_dict(holder) if is_a(holder, threading.local) else holder

    def now(self) -> Any:
        """What is there at this moment, without running anybody's code."""
        return _content(self.holder, self.name)

    def entries(self, most: int) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """What is in a collection there of at most so many, each with its key or its index.

        And what is in the tuples there, under two: ``slots["a"] = loop, client``.
        """
        content = self.now()
        found: tuple[tuple[Any, Any], ...] = ()
        if type(content) is dict and len(content) <= most:
            found = tuple(content.items())
        elif type(content) is list and len(content) <= most and self.by_index:
            found = tuple(enumerate(content))
        elif is_a(content, tuple):
            found = tuple(enumerate(tuple.__iter__(content)))
        for key, value in found[:most]:
            yield (key,), value
            if is_a(value, tuple):
                yield from (((key, n), one) for n, one in enumerate(tuple.__iter__(value)))

    def __str__(self) -> str:
        """As code writes it that has what it is reached from."""
        names = (*self.through, self.name)
        return ".".join(("cell_contents", *names[1:]) if type(self.bearer) is _Cell else names)


@dataclass(frozen=True)
class _Cell:
    """The cell that a function has for a variable of the one around it."""

    function: Ref
    index: int

    def __call__(self) -> CellType | None:
        function = self.function()
        return function.__closure__[self.index] if function is not None else None


def _content(holder: Any, name: str) -> Any:
    if type(holder) is CellType:
        try:
            return holder.cell_contents
        except ValueError:  # it has none yet
            return None
    return holder.get(name) if type(holder) is dict else attribute(holder, name)


@dataclass(frozen=True)
class Maker:
    """A function of the user's that was running when something was made, and where it was.

    `bearer` is the object whose method it is.
    """

    code: CodeType
    offset: int
    bearer: Ref = nowhere


class Running(NamedTuple):
    """A function of the user's that runs at a moment, as far as it has to be known later.

    Attributes:
        code: the function's.
        offset: where it is in that.
        names: the variables of its module.
        first: its first argument, where it may write to that.
        function: itself, where it may write to variables of the function around it.
    """

    code: CodeType
    offset: int
    names: dict[str, Any]
    first: Ref
    function: Ref


def running(frame: FrameType | None) -> tuple[Running, ...]:
    """The functions of the user's that run, from a frame outwards. It reads none of them."""
    found: list[Running] = []
    while frame is not None and len(found) < _FUNCTIONS:
        code = frame.f_code
        if not is_library(code.co_filename):
            stores = may_store(code)
            first = weak(first_argument(frame)) if stores or is_method(code) else nowhere
            function = weak(_function_of(frame)) if stores and code.co_freevars else nowhere
            found.append(Running(code, frame.f_lasti, frame.f_globals, first, function))
        frame = frame.f_back
    return tuple(found)


def _function_of(frame: FrameType) -> FunctionType | None:
    """The function that runs in a frame, where it is at hand, or another one of the same code.

    A frame does not tell it. Its caller has it in a variable, by a name that it uses, or as a
    method of its own object, and a task's coroutine refers to it. Whether it is the right one is
    told by what its cells have.
    """
    for one in _at_hand(frame):
        function = one.__func__ if type(one) is MethodType else one
        if type(function) is FunctionType and function.__code__ is frame.f_code:
            return function
    return None


def _at_hand(frame: FrameType) -> Iterator[Any]:
    task = _cpython.current_task()
    if task is not None and _cpython.coroutine_code(task) is frame.f_code:
        yield from gc.get_referents(_cpython.coroutine_of(task))
    caller = frame.f_back
    if caller is None or is_library(caller.f_code.co_filename):
        return
    names, variables = caller.f_code.co_names, unnoticed_variables(caller)
    yield from (caller.f_globals.get(name) for name in names)
    yield from variables.values()
    own = next(iter(caller.f_code.co_varnames), None)
    if own in variables:
        yield from (attribute(variables[own], name) for name in names)


class Making(Sighting):
    """Something is being made. By whom and where is read once, by the first judge that asks for it.

    That has to be while it is observed: afterwards other code runs.
    """

    @cached_property
    def functions(self) -> tuple[Running, ...]:
        """The functions of the user's that run, the innermost first."""
        return running(sys._getframe(1))

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """The stack, as `stack_here` tells it."""
        return stack_here()


def surroundings(functions: Iterable[Running]) -> tuple[tuple[Place, ...], tuple[Maker, ...]]:
    """The places that these functions write to; and who they are, and of which object's methods."""
    places: list[Place] = []
    makers: list[Maker] = []
    for one in functions:
        stored = stored_by(one.code)
        of_object = [written for written in stored.places if _is_of_object(written)]
        bearer = one.first if of_object or is_method(one.code) else nowhere
        for written in stored.places:
            by_index = written not in stored.grown
            if written.scope == "cell" and written.name in one.code.co_freevars:
                cell = _Cell(one.function, one.code.co_freevars.index(written.name))
                *through, name = (written.name, *written.attributes)
                places.append(Place(name, None, cell, tuple(through), by_index))
            elif written.scope == "global":
                *through, name = (written.name, *written.attributes)
                places.append(Place(name, one.names, nowhere, tuple(through), by_index))
            elif written in of_object and bearer is not nowhere:
                is_first = written.name in one.code.co_varnames[:1]
                *through, name = written.attributes if is_first else written.attributes[-1:]
                places.append(Place(name, None, bearer, tuple(through), by_index))
        makers.append(Maker(one.code, one.offset, bearer))
    return tuple(places), tuple(makers)


def _is_of_object(written: Written) -> bool:
    """Whether it is an attribute of the function's first argument, or may be."""
    return bool(written.attributes) and written.scope != "global"
