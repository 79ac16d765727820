"""Whether a handler goes on to use a function again, read from the bytecode when all rests.

A coroutine that is made anew and awaited at once is given to no loop, so nothing sees it run. What
can be told is that the handler, once entered, comes to a place where what had made the first one
is called, or handed to somebody who may call it: ``except RuntimeError: return save()``. What the
handler merely mentions (``save.__name__``) does not count, nor does what is reached only by going
round in a loop.
"""

from __future__ import annotations

import dis
from collections.abc import Collection

from pytest_loopsafe._bytecode import Body, Reader, callee
from pytest_loopsafe._words.ways import Point

_Value = tuple[str, ...]
"""The name by which something was loaded; of what a call gave, those of all that it was made of."""


class _Uses(Reader[_Value]):
    """What each call calls and is given, by the names of what it was made of."""

    def __init__(self, body: Body) -> None:
        super().__init__(body, ())
        self.calls: dict[int, set[str]] = {}
        self.made: dict[int, set[str]] = {}
        self.called: dict[int, str] = {}
        self._variables: dict[str, _Value] = {}

    def value(self, index: int, one: dis.Instruction, given: list[_Value]) -> _Value:
        """The names that an instruction's value goes by."""
        name = one.opname
        if name in ("STORE_FAST", "STORE_DEREF") and given[0]:
            self._variables[one.argval] = given[0]
        elif name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX"):
            called, _ = callee(one, given, ())
            self.called[index] = called[0] if called else ""
            self.calls[index] = {value[0] for value in given if value}
            arguments = [value for value in given if value is not called and len(value) > 1]
            self.made[index] = {part for value in arguments for part in value[1:]}
            return ("", *called, *self.made[index])
        elif name.startswith("LOAD_") and name != "LOAD_CONST" and type(one.argval) is str:
            known = self._variables.get(one.argval, ()) if "ATTR" not in name else ()
            return (one.argval, *known[1:])
        return ()


def uses_again(point: Point, names: Collection[str]) -> bool:
    """Whether a handler for an error raised where a frame stands leads to a use of a function.

    Args:
        point: where the frame stands.
        names: what the function is called. What makes the argument of the call where the frame
            stands has its name in that frame beside these.
    """
    body = Body.of(point.code)
    uses = _Uses(body)
    uses.read()
    sought = {*names, *uses.made.get(body.at(point.offset), ())}
    pending = [body.at(one.target) for one in body.handlers if one.start <= point.offset < one.end]
    seen: set[int] = set()
    while pending:
        index = pending.pop()
        if index not in seen:
            seen.add(index)
            pending += [side for side in body.after(index) if side > index]
    return any(not sought.isdisjoint(uses.calls.get(index, ())) for index in seen)


def awaits_later(point: Point, names: Collection[str]) -> bool:
    """Whether a function is called and awaited at once, further on from where a frame stands.

    Asked where it is not seen that a function begins. A task that a loop is given is always seen.
    """
    body = Body.of(point.code)
    uses = _Uses(body)
    uses.read()
    awaited = [
        index
        for index, called in uses.called.items()
        if called in names
        and index + 1 < len(body.instructions)
        and body.instructions[index + 1].opname == "GET_AWAITABLE"
    ]
    return body.reaches(body.at(point.offset), awaited)
