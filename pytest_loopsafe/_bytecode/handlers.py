"""What becomes of an error that is raised where a function is: whether any line of it runs then.

The compiler's exception table leads from one handler to the next. An ``except`` of other classes
hands the error on, and so does a ``contextlib.suppress`` of such; anything else acts on it: a
``finally``, another ``with``, an ``except`` of a class that cannot be told without running code.
"""

from __future__ import annotations

import contextlib
import dis
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

from pytest_loopsafe._bytecode.body import Body
from pytest_loopsafe._bytecode.reader import Reader, callee

Resolve = Callable[[tuple[str, ...]], Any]
"""Tells what a global name stands for, or one with attributes (``asyncio``, ``CancelledError``)."""


def acts_on(code: CodeType, offset: int, error: type[BaseException], resolve: Resolve) -> bool:
    """Whether an error would be met by anything in the function.

    Args:
        code: the function's.
        offset: a frame's ``f_lasti``.
        error: the error's class.
        resolve: looks names up.
    """
    body = Body.of(code)
    names: _Names | None = None
    seen: set[int] = set()
    while (start := _handler_at(body, offset)) is not None and start not in seen:
        seen.add(start)
        one = body.instructions[start]
        if one.opname == "PUSH_EXC_INFO":
            names = names or _Names(body)
            end = names.passed_on(start, lambda value: _matches(value, error, resolve))
        else:  # it tidies up for another, or for an ``await``
            end = _next(body, start, "RERAISE") if one.opname == "COPY" else start
        if end is None:
            return True
        offset = body.instructions[end].offset
    return False


def _handler_at(body: Body, offset: int) -> int | None:
    entries = (one for one in body.handlers if one.start <= offset < one.end)
    return next((body.at(one.target) for one in entries), None)


def _next(body: Body, start: int, name: str) -> int | None:
    """The next instruction of a name, straight on."""
    index = start
    while body.instructions[index].opname != name:
        if not body.goes_on(index):
            return None
        index += 1
    return index


_UNKNOWN: Any = type("Unknown", (), {})()


@dataclass(frozen=True)
class _Name:
    path: tuple[str, ...]


@dataclass(frozen=True)
class _Several:
    values: tuple[Any, ...]


@dataclass(frozen=True)
class _Suppressed:
    """What may be a ``contextlib.suppress`` of these, if that is what the name stands for."""

    name: _Name
    values: _Several


class _Names(Reader[Any]):
    """Which names each handler asks for, and what each ``with`` has entered."""

    def __init__(self, body: Body) -> None:
        super().__init__(body, _UNKNOWN)
        self._asked: dict[int, Any] = {}
        self._entered: dict[int, Any] = {}
        self._enters: Any = _UNKNOWN
        self.read()

    def either(self, here: Any, there: Any) -> Any:
        """One or the other: nobody knows."""
        return _UNKNOWN

    def value(self, index: int, one: dis.Instruction, given: list[Any]) -> Any:
        """What comes of an instruction."""
        name = one.opname
        if name == "LOAD_GLOBAL":
            return _Name((one.argval,))
        if name == "LOAD_ATTR" and type(given[0]) is _Name:
            return _Name((*given[0].path, one.argval))
        if name == "BUILD_TUPLE":
            return _Several(tuple(given))
        if name == "CHECK_EXC_MATCH":
            self._asked[index] = given[-1]
        elif name == "BEFORE_WITH":
            self._entered[index] = given[0]
        elif name == "LOAD_SPECIAL" and one.argrepr == "__enter__":  # from 3.14 on
            self._enters = given[0]
        elif name == "CALL":
            if self.body.instructions[index - 1].opname == "LOAD_SPECIAL":
                self._entered[index] = self._enters
            called, arguments = callee(one, given, _UNKNOWN)
            if type(called) is _Name:
                return _Suppressed(called, _Several(tuple(arguments)))
        return _UNKNOWN

    def passed_on(self, start: int, matches: Callable[[Any], bool]) -> int | None:
        """Where a handler raises again what it does not match; None where it does match it.

        Args:
            start: the handler's first instruction.
            matches: whether a value may stand for a class that matches.
        """
        body = self.body
        if body.instructions[start + 1].opname == "WITH_EXCEPT_START":
            # Its first instruction that the handler is for is the one behind the entering.
            first = min(one.start for one in body.handlers if body.at(one.target) == start)
            entered = self._entered.get(body.at(first) - 1, _UNKNOWN)
            return None if matches(entered) else _next(body, start, "RERAISE")
        index: int | None = start + 1
        while index is not None and body.instructions[index].opname != "RERAISE":
            if body.instructions[index].opname not in _ONLY_ASKS:
                return None
            if index in self._asked:
                if matches(self._asked[index]):
                    return None
                index = body.target(index + 1)
            else:
                index += 1
        return index


_ONLY_ASKS = frozenset(
    {"BUILD_TUPLE", "CHECK_EXC_MATCH", "EXTENDED_ARG", "LOAD_ATTR", "LOAD_GLOBAL", "NOP"}
)


def _matches(value: Any, error: type[BaseException], resolve: Resolve) -> bool:
    """Whether the error may be of one of these classes; of what is no name, it may."""
    if type(value) is _Several:
        return any(_matches(one, error, resolve) for one in value.values)
    if type(value) is _Suppressed:
        is_it = resolve(value.name.path) is contextlib.suppress
        return not is_it or _matches(value.values, error, resolve)
    return type(value) is not _Name or _is_of(resolve(value.path), error)


def _is_of(kind: Any, error: type[BaseException]) -> bool:
    if type(kind) is tuple:
        return any(_is_of(one, error) for one in kind)
    return not issubclass(type(kind), type) or any(kind is base for base in type.mro(error))
