"""What a function does with what one of its calls has given it."""

from __future__ import annotations

import dis
from dataclasses import dataclass
from types import CodeType
from typing import Any

from pytest_loopsafe._bytecode.body import Body
from pytest_loopsafe._bytecode.reader import Reader, callee


@dataclass(frozen=True)
class Fate:
    """What becomes of the result, of a lock that a call has made.

    Attributes:
        entered: it is entered, by ``async with`` or its method.
        returned: it is what the function returns, and the only thing that it returns.
        stored: it is put where others look it up: an attribute, a variable that is not the call's
            own, an entry under a constant key.
        handed: it is given to somebody else, or it may be another one that is used.
        offered: it is given to ``setdefault``, whose answer may be another one.
        defaulted: it is given to ``get`` for where there is none, and what that gives is used.
        kept: it is in a variable of the function's own.
        entered_again: there is more than one place, or a loop, in which it is entered.
        looked_up: it came of a subscript: what has made it may have kept it, as a defaultdict does.
    """

    entered: bool
    returned: bool
    stored: bool
    handed: bool
    offered: bool
    defaulted: bool
    kept: bool
    entered_again: bool
    looked_up: bool


def fate_of(code: CodeType, offset: int) -> Fate:
    """What a function does with the result of a call, or of an attribute that is computed.

    Args:
        code: the function's.
        offset: a frame's ``f_lasti`` during the call.
    """
    body = Body.of(code)
    start = body.at(offset)
    reader = _Follower(body, start)
    reader.read()
    names = {name for name, values in reader.assigned.items() if values == {_RESULT}}
    names.difference_update(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    ways = {way for way, name in reader.ways if name is None or name in names}
    unsure = {way for way, name in reader.ways if name is not None and name not in names}
    entries = reader.entries
    return Fate(
        "entered" in ways,
        "returned" in ways and "returns another" not in ways,
        "stored" in ways,
        "handed" in ways or bool(unsure),
        "offered" in ways,
        "defaulted" in ways,
        bool(names),
        len(entries) > 1 or any(body.reaches(one + 1, entries, {start}) for one in entries),
        body.instructions[start].opname == "BINARY_SUBSCR",
    )


_UNKNOWN: Any = type("Unknown", (), {})()
_RESULT: Any = type("Result", (), {})()
_EITHER: Any = type("Either", (), {})()
_NONE: Any = type("Nothing", (), {})()


@dataclass(frozen=True)
class _Named:
    """What is in a variable of the function's own, to which the result was given."""

    name: str


@dataclass(frozen=True)
class _Callable:
    """What is about to be called: ``setattr``, or a method of that name."""

    name: str


class _Follower(Reader[Any]):
    """Follows one value through a function.

    Attributes:
        ways: what was done with it, and under which name of its.
        assigned: what each variable of the function's own was given.
        entries: the instructions that enter it.
    """

    def __init__(self, body: Body, start: int) -> None:
        super().__init__(body, _UNKNOWN)
        self._start = start
        self.ways: set[tuple[str, str | None]] = set()
        self.assigned: dict[str, set[Any]] = {}
        self.entries: set[int] = set()

    def either(self, here: Any, there: Any) -> Any:
        """On one way it is the result, on the other it is not: nothing, or something else."""
        for one, other in ((here, there), (there, here)):
            if _is_it(one) and other is _NONE:  # as before 3.12 in `return make() if on else None`
                return one
        return _EITHER if _is_it(here) or _is_it(there) else super().either(here, there)

    def value(self, index: int, one: dis.Instruction, given: list[Any]) -> Any:
        """What comes of an instruction."""
        name = one.opname
        if name == "STORE_FAST":
            self.assigned.setdefault(one.argval, set()).add(given[0])
        elif name == "LOAD_FAST" and _RESULT in self.assigned.get(one.argval, ()):
            return _Named(one.argval)
        elif name == "END_SEND":
            return given[-1]
        elif name == "LOAD_CONST" and one.argval is None:
            return _NONE
        elif name in ("LOAD_GLOBAL", "LOAD_ATTR") and one.argval in _TAKES_IT:
            return _Callable(one.argval)
        elif _enters(one):
            self._met(given, "entered")
            if any(map(_is_it, given)):
                self.entries.add(index)
        elif name == "RETURN_VALUE":
            self._met(given, "returned")
            if not _is_it(given[0]) and given[0] is not _NONE:
                self.ways.add(("returns another", None))
        elif name in ("STORE_ATTR", "STORE_DEREF", "STORE_GLOBAL"):
            self._met(given[:1], "stored")
        elif name == "STORE_SUBSCR":
            is_constant = self.body.instructions[index - 1].opname == "LOAD_CONST"
            self._met(given[:1], "stored" if is_constant else "handed")
        elif name in ("CALL", "CALL_KW") and index != self._start:
            if self._called(one, given) == "defaulted":
                return _RESULT  # what is taken is its, else nobody would ask what became of it
        elif "JUMP_IF_" not in name and name not in _HARMLESS and index != self._start:
            self._met(given, "handed")
        return _RESULT if index == self._start else _UNKNOWN

    def _called(self, one: dis.Instruction, given: list[Any]) -> str | None:
        called, arguments = callee(one, given, _UNKNOWN)
        way = _TAKES_IT.get(called.name, "handed") if type(called) is _Callable else "handed"
        given = arguments if type(called) is _Callable else given
        self._met(given, way)
        return way if any(map(_is_it, given)) else None

    def _met(self, values: list[Any], way: str) -> None:
        for value in values:
            if value is _EITHER:
                self.ways.add(("handed", None))
            elif value is _RESULT:
                self.ways.add((way, None))
            elif type(value) is _Named:
                self.ways.add((way, value.name))


def _enters(one: dis.Instruction) -> bool:
    """Whether an instruction enters what it is given, or looks up the method that does."""
    if one.opname == "LOAD_SPECIAL":  # from 3.14 on: of the way in, and one more of the way out
        return one.argrepr == "__aenter__"
    return one.opname == "BEFORE_ASYNC_WITH" or (
        one.opname == "LOAD_ATTR" and one.argval in ("acquire", "__aenter__")
    )


_TAKES_IT = {
    "setattr": "stored",
    "setdefault": "offered",
    **dict.fromkeys(("get", "getattr", "pop"), "defaulted"),
}
_HARMLESS = frozenset(
    {
        "COMPARE_OP",
        "DELETE_FAST",
        "IS_OP",
        "LOAD_ATTR",
        "LOAD_SPECIAL",
        "POP_TOP",
        "TO_BOOL",
        "UNARY_NOT",
    }
)
"""What asks it something, or lets go of it. A method that it has enters nobody, but for one."""


def _is_it(value: Any) -> bool:
    return value is _RESULT or value is _EITHER or type(value) is _Named
