"""Who will keep an error, read from the exception tables and the bytecode of the frames it passes.

No source file is needed, and no name such as ``suppress`` decides: what an ``except`` names is
looked up, and compared by identity. Nothing of the code's is called for it. Where that leaves
something open (a ``with`` of a frame that runs, a class from a variable, a condition that decides
whether the error goes on), the answer is None, not known. It is never a guess.

Only when all rests: reading a function takes as long as some hundred of its instructions.
"""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from inspect import CO_COROUTINE
from types import CodeType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.names import NO, UNKNOWN, Names
from pytest_loopsafe._words.stacks import Frame, handler_frame
from pytest_loopsafe._words.ways import Exit, LetGo, Point, Way


@dataclass(frozen=True)
class Kept:
    """An error is kept in a frame, by the handler in this line.

    `narrow` tells whether the handler names just this kind of error: ``except RuntimeError`` is a
    decision, ``except Exception`` a net. None where what it names is not known.
    """

    frame: Frame
    code: CodeType
    narrow: bool | None


PASSES = "passes"
"""The error leaves the frame."""

Outcome = Kept | str | None
"""What becomes of an error in a frame; None: not known."""


def outcome(point: Point, kind: type[BaseException], let_go: LetGo | None = None) -> Outcome:
    """What becomes of an error of a type that is raised where a frame stands.

    Args:
        point: where it stands.
        kind: the error's type.
        let_go: tells which frame the error never left; asked where the bytecode leaves it open.
    """
    return _Reading(point, kind).outcome(let_go)


def handled(point: Point, kind: type[BaseException]) -> Kept:
    """The handler that an error has entered and not left: `point` has its first instruction."""
    reading = _Reading(point, kind)
    kept = next((end.kept for end in reading.follow(point.offset, []) if end.kept), None)
    return kept or Kept(reading.place(point.offset + 2), point.code, None)


def keeper(way: Way) -> Kept | None:
    """The frame that keeps an error on its way; None where none does, or it is not known."""
    for index, point in enumerate(way.points):
        found = outcome(point, way.kind, way.let_go)
        if isinstance(found, Kept):
            return found
        if found is None or _ends_task(way.points, index):
            return None
    return None


def _ends_task(points: tuple[Point, ...], index: int) -> bool:
    """Whether what leaves this frame ends its task: C code takes it there, no frame of the loop."""
    following = points[index + 1].code if index + 1 < len(points) else None
    is_coroutine = points[index].code.co_flags & CO_COROUTINE
    return (
        bool(is_coroutine)
        and following is not None
        and following.co_qualname == _cpython.CALLBACK_BEGINS
    )


def calls_nothing_else(point: Point) -> bool:
    """Whether the call where a frame stands, with its arguments, is all that its function does."""
    instructions, _ = _read(point.code)
    calls = [one for one in instructions if one.opname in _CALLS]
    # Where a frame stands may also be the inline cache that follows the instruction.
    upto = [one for one in instructions if one.offset <= point.offset]
    return bool(upto) and all(one is upto[-1] or _lies_within(one, upto[-1]) for one in calls)


_CALLS = ("CALL", "CALL_KW", "CALL_FUNCTION_EX")


def _lies_within(inner: dis.Instruction, outer: dis.Instruction) -> bool:
    a, b = inner.positions, outer.positions
    if a is None or b is None or None in a or None in b:
        return False
    begins = (b.lineno, b.col_offset) <= (a.lineno, a.col_offset)
    return begins and (a.end_lineno, a.end_col_offset) <= (b.end_lineno, b.end_col_offset)


# -- bytecode --------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _read(code: CodeType) -> tuple[tuple[dis.Instruction, ...], tuple[Any, ...]]:
    bytecode: Any = dis.Bytecode(code)
    return tuple(bytecode), tuple(bytecode.exception_entries)


def forget() -> None:
    """Let go of what was read: the collector would walk it while the code under test runs."""
    _read.cache_clear()


@dataclass(frozen=True)
class _End:
    """How a handler may end: it keeps the error, raises it again at an offset, or another one.

    `certain` is False where it depends on what is not known: a condition, a class, a ``with``.
    """

    kept: Kept | None = None
    again: int | None = None
    certain: bool = True


class _Reading:
    """The handlers of one frame, followed from where it stands."""

    def __init__(self, point: Point, kind: type[BaseException]) -> None:
        self._point = point
        self._kind = kind
        self._names = Names(point)
        self._instructions, self._table = _read(point.code)
        self._index = {one.offset: index for index, one in enumerate(self._instructions)}

    def outcome(self, let_go: LetGo | None) -> Outcome:
        """What all ways through the handlers lead to, if it is one and the same."""
        # One that was not recognised would shift all others.
        exits = list(self._point.exits)
        known = len(exits) >= self._count_withs()
        return self._decided(self._ends(exits if known else []), let_go)

    def _count_withs(self) -> int:
        managers = [Exit()] * len(self._point.exits)
        self._ends(managers)
        return len(self._point.exits) - len(managers)

    def _ends(self, exits: list[Exit]) -> list[_End]:
        ends: list[_End] = []
        pending, seen = [self._point.offset], set()
        while pending:
            target = self._handler_of(pending.pop())
            if target is None:
                ends.append(_End())
            elif target not in seen:
                seen.add(target)
                for end in self.follow(target, exits):
                    if end.again is not None:
                        pending.append(end.again)
                    else:
                        ends.append(end)
        return ends

    def _decided(self, ends: list[_End], let_go: LetGo | None) -> Outcome:
        kept = [end.kept for end in ends if end.kept is not None]
        if all(end.certain for end in ends) and len(kept) in (0, len(ends)):
            return kept[0] if kept else PASSES
        by = let_go.frame() if let_go is not None else None
        if by is None:
            return None
        if by is not self._point.code:
            return PASSES
        if not kept:
            return Kept(self.place(self._point.offset), by, None)
        return replace(kept[0], narrow=False) if any(k.narrow is False for k in kept) else kept[0]

    def follow(self, target: int, exits: list[Exit]) -> Iterator[_End]:
        """How the handler may end that begins at an offset.

        Args:
            target: the offset.
            exits: the context managers that are entered, as far as known; left ones are taken off.
        """
        pending = [(self._at(target), Kept(self.place(target + 2), self._point.code, False))]
        seen: set[int] = set()
        while pending:
            index, kept = pending.pop()
            values: list[Any] = []
            while index < len(self._instructions) and index not in seen:
                seen.add(index)
                one = self._instructions[index]
                name = one.opname
                index += 1
                if name == "CHECK_EXC_MATCH":
                    narrow = self._names.match(values.pop() if values else UNKNOWN, self._kind)
                    clause = replace(kept, frame=self.place(one.offset), narrow=narrow or False)
                    index = self._after(index, "POP_JUMP")
                    otherwise = self._at(self._instructions[index - 1].argval)
                    if narrow is UNKNOWN:
                        yield _End(replace(clause, narrow=None), certain=False)
                    if narrow in (NO, UNKNOWN):
                        index = otherwise
                    else:
                        kept = clause
                elif name == "WITH_EXCEPT_START":
                    yield from self._left(one, target, exits)
                    break
                elif (end := self._end(one, kept)) is not None:
                    yield end
                    break
                elif one.opcode in _JUMPS:
                    if name.startswith("JUMP_") and "_IF_" not in name:
                        index = self._at(one.argval)
                    else:
                        pending.append((self._at(one.argval), kept))
                    values.clear()
                elif not self._names.load(one, values):
                    values.clear()

    def _end(self, one: dis.Instruction, kept: Kept) -> _End | None:
        """Whether the handler ends at this instruction, and how."""
        name = one.opname
        if name == "POP_EXCEPT":
            following = self._instructions[self._index[one.offset] + 1]
            again = following.opname == "RERAISE"
            return _End(again=following.offset) if again else _End(kept)
        if name in ("RETURN_VALUE", "RETURN_CONST"):
            return _End(kept)
        if name in ("RERAISE", "CLEANUP_THROW", "END_ASYNC_FOR") or (
            name == "RAISE_VARARGS" and one.arg == 0
        ):
            return _End(again=one.offset)
        if name in ("RAISE_VARARGS", "CHECK_EG_MATCH"):
            return _End(certain=False)  # another error goes on, or a part of this one
        return None

    def _left(self, one: dis.Instruction, target: int, exits: list[Exit]) -> Iterator[_End]:
        """How a ``with`` may end that an error leaves."""
        with_it = Kept(self.place(one.offset), self._point.code, None)
        again = self._instructions[self._after(self._index[one.offset], "RERAISE") - 1].offset
        known = (
            exits.pop()
            if exits
            else self._names.manager(self._instructions[: self._entered(target)])
        )
        keeps = self._keeps(known)
        if keeps is UNKNOWN:
            yield _End(with_it, certain=False)
        if keeps in (NO, UNKNOWN):
            yield _End(again=again)
        else:
            yield _End(replace(with_it, narrow=keeps))

    def _keeps(self, manager: Exit) -> Any:
        """Whether a context manager keeps the error: by name (True), in a net (False), `NO`."""
        if manager.suppresses is not None:
            return self._names.match(manager.suppresses, self._kind)
        if manager.generator is not None:
            found = outcome(manager.generator, self._kind)
            if isinstance(found, Kept):
                return found.narrow
            return NO if found == PASSES else UNKNOWN
        for callback in reversed(manager.callbacks or ()):
            keeps = self._keeps(callback)
            if keeps is not NO:
                return keeps
        return NO if manager.passes or manager.callbacks is not None else UNKNOWN

    def _entered(self, target: int) -> int:
        """The index of the instruction that entered the ``with`` of this handler."""
        return self._at(min(one.start for one in self._table if one.target == target)) - 1

    def _handler_of(self, offset: int) -> int | None:
        found = [one.target for one in self._table if one.start <= offset < one.end]
        return found[0] if found else None

    def _at(self, offset: int) -> int:
        """The index of the instruction at an offset, or of the first one after it."""
        while offset not in self._index and offset < self._instructions[-1].offset:
            offset += 2
        return self._index.get(offset, len(self._instructions))

    def _after(self, index: int, name: str) -> int:
        """The index after the next instruction of that name."""
        while not self._instructions[index].opname.startswith(name):
            index += 1
        return index + 1

    def place(self, offset: int) -> Frame:
        """The line of an offset."""
        return handler_frame(self._point.code, offset - 2)


_JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))
