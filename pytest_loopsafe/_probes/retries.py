"""Whether a handler goes on to use a function again, read from the bytecode when all rests.

A coroutine that is made anew and awaited at once is given to no loop, so nothing sees it run. What
can be told is that the handler, once entered, comes to a place where the function is called, or
handed to somebody who may call it: ``except RuntimeError: return save()``. What the handler merely
mentions (``save.__name__``) does not count, nor does what is reached only by going round in a loop.
"""

from __future__ import annotations

import dis
from collections.abc import Collection

from pytest_loopsafe._bytecode import Body, Reader
from pytest_loopsafe._words.ways import Point


class _Uses(Reader[str | None]):
    """The calls that are given a function of one of these names, or call it."""

    def __init__(self, body: Body, names: Collection[str]) -> None:
        super().__init__(body, None)
        self._names = names
        self.found: set[int] = set()

    def value(self, index: int, one: dis.Instruction, given: list[str | None]) -> str | None:
        """The name by which an instruction has loaded something."""
        if one.opname.startswith("CALL") and any(value in self._names for value in given):
            self.found.add(index)
        loads = one.opname.startswith("LOAD_") and type(one.argval) is str
        return one.argval if loads and one.opname != "LOAD_CONST" else None


def uses_again(point: Point, names: Collection[str]) -> bool:
    """Whether a handler for an error raised where a frame stands leads to a use of a function.

    Args:
        point: where the frame stands.
        names: what the function is called.
    """
    body = Body.of(point.code)
    uses = _Uses(body, names)
    uses.read()
    pending = [body.at(one.target) for one in body.handlers if one.start <= point.offset < one.end]
    seen: set[int] = set()
    while pending:
        index = pending.pop()
        if index not in seen:
            seen.add(index)
            pending += [side for side in body.after(index) if side > index]
    return not seen.isdisjoint(uses.found)
