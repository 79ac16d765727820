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
from types import FunctionType, ModuleType
from typing import Any

from pytest_loopsafe._bytecode import Body, Reader, callee
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


class Names(Reader[Any]):
    """What stands in a frame's bytecode for classes and context managers.

    Attributes:
        classes: what each ``except`` names, by the index of its test.
        managers: what each ``with`` enters, by the index of the instruction that does.
    """

    def __init__(self, point: Point, body: Body) -> None:
        super().__init__(body, UNKNOWN)
        module = sys.modules.get(point.module) if point.module is not None else None
        found = _GLOBALS.__get__(module) if issubclass(type(module), ModuleType) else None
        self._globals = found if id(found) == point.namespace else None
        self._is_module = point.code.co_name == "<module>"
        self.classes: dict[int, Any] = {}
        self.managers: dict[int, Exit] = {}

    def value(self, index: int, one: dis.Instruction, given: list[Any]) -> Any:
        """The object that comes of an instruction, if that can be told."""
        name = one.opname
        if name == "CHECK_EXC_MATCH":
            self.classes[index] = given[-1]
        elif name == "LOAD_GLOBAL" or (name == "LOAD_NAME" and self._is_module):
            return self._global(one.argval)
        elif name == "LOAD_CONST":
            return one.argval
        elif name == "LOAD_ATTR":
            return _attribute(given[0], one.argval)
        elif name == "BUILD_TUPLE":
            return tuple(given)
        elif name == "CALL":
            self._enters(index, given)
            return _made(*callee(one, given, UNKNOWN))
        elif name == "BEFORE_WITH":
            self._enters(index, given)
        elif name == "LOAD_SPECIAL":  # 3.14: one method of the manager after the other, and a call
            return given[0]
        return UNKNOWN

    def either(self, here: Any, there: Any) -> Any:
        """Of two branches' values none is known to be the one."""
        return UNKNOWN

    def _enters(self, index: int, given: list[Any]) -> None:
        for one in given:
            if type(one) is Exit:
                self.managers[index] = one

    def _global(self, name: str) -> Any:
        if self._globals is None:
            return UNKNOWN
        if name in self._globals:
            return self._globals[name]
        return vars(builtins).get(name, UNKNOWN)


def match(classes: Any, kind: type[BaseException]) -> Any:
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


def _made(function: Any, given: list[Any]) -> Any:
    """What a call gives: a context manager of contextlib's, or nobody knows what."""
    if function is contextlib.suppress:
        return Exit(suppresses=tuple(given))
    if type(function) is FunctionType and function.__code__ in _MAKE_MANAGERS:
        generator = vars(function).get("__wrapped__")
        if type(generator) is FunctionType:
            code, names = generator.__code__, generator.__globals__
            body = Body.of(code)
            yields = [one.offset for one in body.instructions if one.opname == "YIELD_VALUE"]
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
