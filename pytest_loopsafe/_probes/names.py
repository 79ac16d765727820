"""What the names in a function's bytecode stand for, as far as that can be told without asking.

Followed are constants, globals and builtins, attributes of modules and classes, tuples of such, and
calls of ``contextlib.suppress`` by any name and of what ``@contextmanager`` made. All is taken from
namespaces, past every ``__getattr__`` and property. What comes from a variable is not known.
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import sys
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import Any

from pytest_loopsafe._words.ways import Exit, Point


class _Unknown:
    pass


class _No:
    pass


UNKNOWN: Any = _Unknown()
"""Stands for what is not known."""

NO: Any = _No()
"""None of the classes that a handler names is the error's."""

_MRO: Any = vars(type)["__mro__"]
_NAMESPACE: Any = vars(type)["__dict__"]
_GLOBALS: Any = vars(ModuleType)["__dict__"]


class Names:
    """The names that a frame's bytecode loads."""

    def __init__(self, point: Point) -> None:
        module = sys.modules.get(point.module) if point.module is not None else None
        found = _GLOBALS.__get__(module) if issubclass(type(module), ModuleType) else None
        self._globals = found if id(found) == point.namespace else None
        self._is_module = point.code.co_name == "<module>"

    def match(self, classes: Any, kind: type[BaseException]) -> Any:
        """Whether one of the classes is an error's: itself (True), a base of it (False), `NO`."""
        found: Any = NO
        for one in _flat(classes):
            if one is kind:
                return True
            if one is UNKNOWN:
                found = UNKNOWN
            elif found is NO and any(one is base for base in _MRO.__get__(kind)):
                found = False
        return found

    def manager(self, instructions: Sequence[dis.Instruction]) -> Exit:
        """The context manager that the last of these instructions enters."""
        values: list[Any] = []
        begin = len(instructions)
        while begin and instructions[begin - 1].opname in _EXPRESSION:
            begin -= 1
        for one in instructions[begin:]:
            if not self.load(one, values):
                values.clear()
        found = values[-1] if values else None
        return found if isinstance(found, Exit) else Exit()

    def load(self, one: dis.Instruction, values: list[Any]) -> bool:
        """Do what an instruction does to the values on the stack; False where that is not known."""
        name = one.opname
        if name in _NOTHING:
            return True
        if name in ("LOAD_GLOBAL", "LOAD_NAME"):
            values.append(self._global(one.argval, is_global=name == "LOAD_GLOBAL"))
        elif name == "LOAD_CONST":
            values.append(one.argval)
        elif name in _VARIABLES:
            values += [UNKNOWN] * _VARIABLES[name]
        elif name in ("LOAD_ATTR", "LOAD_METHOD") and values:
            values.append(_attribute(values.pop(), one.argval))
        elif name == "BUILD_TUPLE" and one.arg is not None and one.arg <= len(values):
            parts = values[len(values) - one.arg :]
            values[len(values) - one.arg :] = [tuple(parts)]
        elif name == "CALL" and one.arg is not None and one.arg < len(values):
            given = values[len(values) - one.arg :]
            del values[len(values) - one.arg :]
            values.append(_made(values.pop(), given))
        else:
            return False
        return True

    def _global(self, name: str, *, is_global: bool) -> Any:
        if self._globals is None or not (is_global or self._is_module):
            return UNKNOWN
        if name in self._globals:
            return self._globals[name]
        return vars(builtins).get(name, UNKNOWN)


_NOTHING = frozenset(
    ("NOP", "CACHE", "EXTENDED_ARG", "NOT_TAKEN", "PUSH_NULL", "PRECALL", "PUSH_EXC_INFO")
)
_VARIABLES = {
    "LOAD_FAST": 1,
    "LOAD_FAST_CHECK": 1,
    "LOAD_FAST_BORROW": 1,
    "LOAD_FAST_LOAD_FAST": 2,
    "LOAD_FAST_BORROW_LOAD_FAST_BORROW": 2,
    "LOAD_DEREF": 1,
    "LOAD_CLASSDEREF": 1,
}
"""Instructions that load variables, and how many."""

_EXPRESSION = _NOTHING | {
    *("LOAD_GLOBAL", "LOAD_NAME", "LOAD_CONST", "LOAD_ATTR", "LOAD_METHOD", "BUILD_TUPLE", "CALL"),
    *_VARIABLES,
}


def _made(function: Any, given: list[Any]) -> Any:
    """What a call gives: a context manager of contextlib's, or nobody knows what."""
    if function is contextlib.suppress:
        return Exit(suppresses=tuple(given))
    if type(function) is FunctionType and function.__code__ in _MAKE_MANAGERS:
        generator = vars(function).get("__wrapped__")
        if type(generator) is FunctionType:
            code, names = generator.__code__, generator.__globals__
            yields = [one.offset for one in dis.Bytecode(code) if one.opname == "YIELD_VALUE"]
            if len(yields) == 1:
                return Exit(generator=Point(code, yields[0], names.get("__name__"), id(names)))
    return UNKNOWN


_MAKE_MANAGERS = (contextlib.contextmanager(iter).__code__,)
"""The code of what ``@contextmanager`` makes of any function."""


def _flat(classes: Any) -> list[Any]:
    if type(classes) is not tuple:
        return [classes]
    return [one for part in classes for one in _flat(part)]


def _attribute(thing: Any, name: str) -> Any:
    kind = type(thing)
    if issubclass(kind, ModuleType):
        return _GLOBALS.__get__(thing).get(name, UNKNOWN)
    if issubclass(kind, type):
        spaces = (_NAMESPACE.__get__(cls) for cls in _MRO.__get__(thing))
        return next((space[name] for space in spaces if name in space), UNKNOWN)
    return UNKNOWN
