"""Who will keep an error, read from the exception tables and the bytecode of the frames it passes.

No source file is needed, and no name such as ``suppress`` decides: what an ``except`` names is
looked up, and compared by identity. Nothing of the code's is called for it. Where that leaves
something open (a ``with`` of a frame that runs, a class from a variable, a condition that decides
whether the error goes on), the answer is None, not known. It is never a guess.

Only when all rests: reading a function takes as long as some hundred of its instructions.
"""

from __future__ import annotations

import builtins
import dis
import functools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from inspect import CO_COROUTINE
from types import CodeType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._bytecode import Body, Reader, callee
from pytest_loopsafe._probes.names import NO, UNKNOWN, Names, match
from pytest_loopsafe._words.stacks import Frame, handler_frame, is_method
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
    body = Body.of(point.code)
    here = body.instructions[body.at(point.offset)]
    calls = [one for one in body.instructions if one.opname in _CALLS]
    return all(one is here or _lies_within(one, here) for one in calls)


def does_otherwise(point: Point) -> bool:
    """Whether the handler calls what the call that failed was given to have called.

    ``except RuntimeError: callback(item)`` after ``loop.call_soon_threadsafe(callback, item)``.
    """
    body = Body.of(point.code)
    calls = _Calls(body)
    calls.read()
    _, given = calls.made.get(body.at(point.offset), ((), []))
    goals = [index for index, (called, _) in calls.made.items() if called and called in given]
    return _comes_to(point, goals)


def hands_on(point: Point) -> bool:
    """Whether the handler gives a function of the code's own what the call that failed was about.

    ``except RuntimeError: save_now(row)`` after ``asyncio.run(save(row))``. A function is what goes
    by a name that is no builtin's, or is an attribute of the method's own object. One that is given
    the error as well reports it.
    """
    body = Body.of(point.code)
    calls = _Calls(body)
    calls.read()
    here = body.at(point.offset)
    sought = {
        value[0]
        for index, (_, given) in calls.made.items()
        if index != here and _lies_within(body.instructions[index], body.instructions[here])
        for value in given
        if len(value) == 1
    }
    errors = {
        two.argval
        for index, one in enumerate(body.instructions)
        if one.opname == "CHECK_EXC_MATCH"
        for two in body.instructions[index + 1 : index + 4]
        if two.opname.startswith("STORE_")
    }
    own = point.code.co_varnames[:1] if is_method(point.code) else ()
    goals = [
        index
        for index, (called, given) in calls.made.items()
        if (called[:-1] == own if len(called) > 1 else called and not hasattr(builtins, called[0]))
        and any(len(value) == 1 and value[0] in sought for value in given)
        and not any(value and value[0] in errors for value in given)
    ]
    return _comes_to(point, goals)


def is_handled_by(point: Point, offsets: Iterable[int]) -> bool:
    """Whether the handler comes to one of the calls at these offsets."""
    return _comes_to(point, [Body.of(point.code).at(one) for one in offsets])


def _comes_to(point: Point, goals: Collection[int]) -> bool:
    """Whether the handler that an error enters where a frame stands leads to one of these."""
    target = _Reading(point, BaseException).target
    body = Body.of(point.code)
    left = [n for n, one in enumerate(body.instructions) if one.opname == "POP_EXCEPT"]
    return target is not None and body.reaches(body.at(target), goals, left)


class _Calls(Reader[tuple[str, ...]]):
    """What a function calls and gives to it, by the names that lead there.

    Attributes:
        made: by the index of the call.
    """

    def __init__(self, body: Body) -> None:
        super().__init__(body, ())
        self.made: dict[int, tuple[tuple[str, ...], list[tuple[str, ...]]]] = {}

    def value(
        self, index: int, one: dis.Instruction, given: list[tuple[str, ...]]
    ) -> tuple[str, ...]:
        """The names that lead to a value; to what a call gives, those of what it calls."""
        if one.opname in _CALLS:
            self.made[index] = called, _ = callee(one, given, self.unknown)
            return called
        if one.opname == "LOAD_ATTR":
            return (*given[0], one.argval) if given[0] else ()
        return (one.argval,) if one.opname in _LOADS else ()


_LOADS = ("LOAD_DEREF", "LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME")


def guards_nothing_else(point: Point) -> bool:
    """Whether the call where a frame stands, with its arguments, is all that its ``try`` is for."""
    body = Body.of(point.code)
    here = body.instructions[body.at(point.offset)]
    targets = [one.target for one in body.handlers if one.start <= point.offset < one.end][:1]
    guarded = [
        one
        for entry in body.handlers
        if entry.target in targets
        for one in body.instructions
        if entry.start <= one.offset < entry.end and one.opname in _CALLS
    ]
    return bool(targets) and all(one is here or _lies_within(one, here) for one in guarded)


_CALLS = ("CALL", "CALL_KW", "CALL_FUNCTION_EX")


def _lies_within(inner: dis.Instruction, outer: dis.Instruction) -> bool:
    a, b = inner.positions, outer.positions
    if a is None or b is None or None in a or None in b:
        return False
    begins = (b.lineno, b.col_offset) <= (a.lineno, a.col_offset)
    return begins and (a.end_lineno, a.end_col_offset) <= (b.end_lineno, b.end_col_offset)


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
        self._body = Body.of(point.code)
        self._instructions = self._body.instructions

    @property
    def target(self) -> int | None:
        """Where the handler begins that an error enters where the frame stands."""
        return self._handler_of(self._point.offset)

    @functools.cached_property
    def _names(self) -> Names:
        names = Names(self._point, self._body)
        names.read()
        return names

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
        pending = [(self._body.at(target), Kept(self.place(target + 2), self._point.code, False))]
        seen: set[int] = set()
        while pending:
            index, kept = pending.pop()
            if index in seen:
                continue
            seen.add(index)
            one = self._instructions[index]
            if one.opname == "CHECK_EXC_MATCH":
                narrow = match(self._names.classes[index], self._kind)
                clause = replace(kept, frame=self.place(one.offset), narrow=narrow or False)
                otherwise, inside = self._body.after(self._after(index, "POP_JUMP"))
                if narrow is UNKNOWN:
                    yield _End(replace(clause, narrow=None), certain=False)
                known = narrow not in (NO, UNKNOWN)
                pending.append((inside, clause) if known else (otherwise, kept))
            elif one.opname == "WITH_EXCEPT_START":
                yield from self._left(index, target, exits)
            elif (end := self._end(index, kept)) is not None:
                yield end
            else:
                pending += [(side, kept) for side in self._body.after(index)]

    def _end(self, index: int, kept: Kept) -> _End | None:
        """Whether the handler ends at this instruction, and how."""
        one = self._instructions[index]
        name = one.opname
        if name == "POP_EXCEPT":
            following = self._instructions[index + 1]
            again = following.opname == "RERAISE"
            return _End(again=following.offset) if again else _End(kept)
        if name == "RETURN_VALUE":
            return _End(kept)
        if name in ("RERAISE", "CLEANUP_THROW", "END_ASYNC_FOR") or (
            name == "RAISE_VARARGS" and one.arg == 0
        ):
            return _End(again=one.offset)
        if name in ("RAISE_VARARGS", "CHECK_EG_MATCH"):
            return _End(certain=False)  # another error goes on, or a part of this one
        return None

    def _left(self, index: int, target: int, exits: list[Exit]) -> Iterator[_End]:
        """How a ``with`` may end that an error leaves."""
        with_it = Kept(self.place(self._instructions[index].offset), self._point.code, None)
        again = self._instructions[self._after(index, "RERAISE")].offset
        known = exits.pop() if exits else self._names.managers.get(self._entered(target), Exit())
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
            return match(manager.suppresses, self._kind)
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
        starts = [one.start for one in self._body.handlers if one.target == target]
        return self._body.at(min(starts)) - 1

    def _handler_of(self, offset: int) -> int | None:
        table = self._body.handlers
        found = [one.target for one in table if one.start <= offset < one.end]
        return found[0] if found else None

    def _after(self, index: int, name: str) -> int:
        """The next instruction of that name."""
        while not self._instructions[index].opname.startswith(name):
            index += 1
        return index

    def place(self, offset: int) -> Frame:
        """The line of an offset."""
        return handler_frame(self._point.code, offset - 2)
