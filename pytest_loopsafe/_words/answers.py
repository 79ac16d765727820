"""Whether code was listening when it asked: what became of an answer, read from the bytecode.

``if not lock.locked(): await lock.acquire()`` can never wait. ``log(queue.qsize())`` before a
``get`` changes nothing, and nor does ``if lock.locked(): log("busy")``, for after both answers the
lock is taken. So an answer counts where a jump hangs on it, and what comes later is reached from
one side of that jump only, unless the question is asked again on the way.

Read from code objects and offsets alone, at rest. Rejected: the source text (there may be none, and
lines say less); to hand out an answer that notes whether its truth is asked for (the code under
test would see another object). What cannot be followed (an attribute, an unknown instruction)
counts as not listened to: silence must rest on evidence.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import CodeType, FrameType

Place = tuple[CodeType, int]
"""A code object, and the offset of the instruction in it that runs."""


def places(frame: FrameType | None, depth: int) -> tuple[Place, ...]:
    """Where the running code is, the innermost frame first."""
    found: list[Place] = []
    while frame is not None and len(found) < depth:
        found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


def guards(question: Sequence[Place], use: Sequence[Place]) -> bool:
    """Whether a use was reached only by the answer that was given to a question.

    Args:
        question: where it was asked, the innermost frame first.
        use: where the use came later, in the same step.
    """
    for code, offset in question:
        flow = _Flow.of(code, offset)
        for later, used_at in use:
            if later is code:  # this call had not ended yet
                return any(_decides(code, jump, used_at, offset) for jump in flow.jumps)
        # It has ended: what it returned depends on the answer, and is an answer to its caller.
        if not flow.jumps and not flow.returned:
            return False
    return False


def _decides(code: CodeType, jump: int, use: int, question: int) -> bool:
    graph = _Graph.of(code)
    return graph.sides(jump, graph.copies(use), graph.copies(question)) == 1


@dataclass(frozen=True)
class _Graph:
    """The instructions of a code object by their offsets, and what may run after each."""

    instructions: dict[int, dis.Instruction]
    next: dict[int, int]

    @classmethod
    def of(cls, code: CodeType) -> _Graph:
        found = list(dis.get_instructions(code))
        following = {one.offset: two.offset for one, two in pairwise(found)}
        return cls({one.offset: one for one in found}, following)

    def at(self, offset: int) -> int:
        """The instruction at an offset, which in a call may be that of a cache behind it."""
        return max((one for one in self.instructions if one <= offset), default=0)

    def copies(self, offset: int) -> set[int]:
        """What does the same: a loop's condition is compiled twice, and so are short endings."""
        one = self.instructions[self.at(offset)]
        if one.positions is None or one.positions.col_offset is None:  # -X no_debug_ranges
            return {one.offset}
        alike = (one.opcode, one.positions)
        return {
            two.offset for two in self.instructions.values() if (two.opcode, two.positions) == alike
        }

    def after_loop(self, offset: int) -> int:
        """Where a ``for`` goes on once its iterator is off the stack."""
        cleanup = (
            ("END_FOR", "POP_TOP", "POP_ITER") if sys.version_info >= (3, 13) else ("END_FOR",)
        )
        for name in cleanup:
            if self.instructions[offset].opname == name:
                offset = self.next[offset]
        return offset

    def sides(self, jump: int, goals: set[int], question: set[int]) -> int:
        """How many sides of a jump lead to one of these before the question is asked again."""
        return [self._reaches(side, goals, question) for side in self.after(jump)].count(True)

    def after(self, offset: int) -> Iterator[int]:
        """The offsets that may come next; an error leads nowhere."""
        one = self.instructions[offset]
        if one.opcode in _JUMPS:
            yield one.argval
        if one.opname not in _NEVER_ON and offset in self.next:
            yield self.next[offset]

    def _reaches(self, start: int, goals: set[int], without: set[int]) -> bool:
        """Whether a place leads to one of these without passing one of those."""
        seen, pending = set(without), [start]
        while pending:
            offset = pending.pop()
            if offset in goals:
                return True
            if offset not in seen:
                seen.add(offset)
                pending += self.after(offset)
        return False


_JUMPS = {*dis.hasjrel, *dis.hasjabs}
_NEVER_ON = frozenset(
    {
        "JUMP_BACKWARD",
        "JUMP_BACKWARD_NO_INTERRUPT",
        "JUMP_FORWARD",
        "RAISE_VARARGS",
        "RERAISE",
        "RETURN_CONST",
        "RETURN_VALUE",
    }
)


@dataclass
class _Flow:
    """Where a value goes, and what is made of it: the jumps that hang on it, or the caller."""

    graph: _Graph
    question: set[int]
    jumps: set[int] = field(default_factory=set)
    returned: bool = False
    _pending: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, code: CodeType, offset: int) -> _Flow:
        """Follow what the instruction at an offset is about to put on the stack."""
        graph = _Graph.of(code)
        flow = cls(graph, graph.copies(offset))
        one = graph.instructions[graph.at(offset)]
        if _tests(one.opname) or one.opname == "TO_BOOL":  # it has called a ``__bool__``
            flow._pending.append((one.offset, 0))
        elif one.opname == "SEND":  # an await that has ended
            flow._pending.append((one.argval, 0))
        else:
            flow._on(one.offset, 0)
        flow._follow()
        return flow

    def _on(self, offset: int, depth: int) -> None:
        if offset in self.graph.next:
            self._pending.append((self.graph.next[offset], depth))

    def _follow(self) -> None:
        seen: set[tuple[int, int]] = set()
        while self._pending:
            at = self._pending.pop()
            if at not in seen:
                seen.add(at)
                self._step(*at)

    def _step(self, offset: int, depth: int) -> None:
        """Follow the value over one instruction; `depth` others are above it on the stack."""
        one = self.graph.instructions[offset]
        name = one.opname
        if _tests(name):
            if depth == 0:
                self.jumps.add(offset)
                self._collected(offset)
            elif name == "FOR_ITER":
                self._on(offset, depth + 1)
                self._pending.append((self.graph.after_loop(one.argval), depth - 1))
                return
            keeps = one.argval if name.endswith("_OR_POP") else None
            for side in self.graph.after(offset) if name != "FOR_ITER" else ():
                left = depth if side == keeps else depth - 1
                if left >= 0:
                    self._pending.append((side, left))
        elif name in ("RETURN_VALUE", "YIELD_VALUE"):
            self.returned |= depth == 0
        elif name in _NEVER_ON:
            self._pending += [(side, depth) for side in self.graph.after(offset)]
        elif name.startswith("STORE_FAST") or name in _STORES:
            self._store(one, depth)
        elif name == "SWAP":
            other = (one.arg or 0) - 1
            self._on(offset, other if depth == 0 else 0 if depth == other else depth)
        elif name == "COPY":
            self._on(offset, depth + 1)
            if depth == (one.arg or 0) - 1:
                self._on(offset, 0)
        elif name in _COLLECT:
            self._on(offset, (one.arg or 0) - 1 if depth == 0 else depth - 1)
        else:
            self._through(one, depth)

    def _collected(self, jump: int) -> None:
        """``[one for one in locks if not one.locked()]`` depends on each answer."""
        for one in self.graph.instructions.values():
            if one.opname in _COLLECT and self.graph.sides(jump, {one.offset}, self.question) == 1:
                self._on(one.offset, (one.arg or 1) - 1)

    def _store(self, one: dis.Instruction, depth: int) -> None:
        """Into a variable: from there it goes to wherever that is read."""
        names = one.argval if isinstance(one.argval, tuple) else (one.argval,)
        loads = "LOAD" in one.opname
        stored = names[:1] if loads else names
        if depth < len(stored):
            for other in self.graph.instructions.values():
                read = _variables(other)
                if stored[depth] in read:
                    self._on(other.offset, len(read) - 1 - read.index(stored[depth]))
        else:
            self._on(one.offset, depth - len(stored) + (1 if loads else 0))

    def _through(self, one: dis.Instruction, depth: int) -> None:
        """Past an instruction that takes values from the stack and puts others there."""
        taken = _taken(one)
        if one.opname in _PASSED:
            self._on(one.offset, depth)
        if taken is None:
            return
        put = taken + dis.stack_effect(one.opcode, one.arg, jump=False)
        if one.opname == "CALL":  # on 3.11 half of it is another instruction's
            put = 1
        if depth >= taken:
            self._on(one.offset, depth - taken + put)
        elif put > 0:
            self._on(one.offset, 0)


_COLLECT = ("LIST_APPEND", "SET_ADD")
_STORES = ("STORE_NAME", "STORE_GLOBAL", "STORE_DEREF")
_READS = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_DEREF")


def _variables(one: dis.Instruction) -> tuple[object, ...]:
    """The variables that an instruction puts on the stack, the topmost last."""
    if "LOAD_FAST" not in one.opname and one.opname not in _READS:
        return ()
    names = one.argval if isinstance(one.argval, tuple) else (one.argval,)
    return names[1:] if one.opname.startswith("STORE_") else names


def _tests(name: str) -> bool:
    return name.startswith(("POP_JUMP_", "JUMP_IF_")) or name == "FOR_ITER"


_Count = Callable[[int], int]
_TAKES: dict[str, int | _Count] = {
    "BINARY_OP": 2,
    "BINARY_SLICE": 3,
    "BINARY_SUBSCR": 2,
    "BUILD_LIST": lambda arg: arg,
    "BUILD_MAP": lambda arg: 2 * arg,
    "BUILD_SET": lambda arg: arg,
    "BUILD_SLICE": lambda arg: arg,
    "BUILD_STRING": lambda arg: arg,
    "BUILD_TUPLE": lambda arg: arg,
    "CALL": lambda arg: arg + 2,
    "CALL_FUNCTION_EX": lambda arg: 3 + (arg & 1),
    "CALL_INTRINSIC_1": 1,
    "CALL_KW": lambda arg: arg + 3,
    "COMPARE_OP": 2,
    "CONTAINS_OP": 2,
    "CONVERT_VALUE": 1,
    "END_SEND": 2,
    "FORMAT_SIMPLE": 1,
    "FORMAT_VALUE": lambda arg: 2 if arg & 4 else 1,
    "FORMAT_WITH_SPEC": 2,
    "GET_AWAITABLE": 1,
    "GET_ITER": 1,
    "IS_OP": 2,
    "LOAD_ATTR": 1,
    "LOAD_METHOD": 1,
    "LOAD_SUPER_ATTR": 3,
    "POP_TOP": 1,
    "PUSH_NULL": 0,
    "STORE_ATTR": 2,
    "STORE_SUBSCR": 3,
    "TO_BOOL": 1,
    "UNARY_INVERT": 1,
    "UNARY_NEGATIVE": 1,
    "UNARY_NOT": 1,
    "UNPACK_SEQUENCE": 1,
}
_PASSED = frozenset(
    {
        "CACHE",
        "EXTENDED_ARG",
        "KW_NAMES",
        "NOP",
        "NOT_TAKEN",
        "PRECALL",
        "RESUME",
    }
)


def _taken(one: dis.Instruction) -> int | None:
    """How many values an instruction takes; None where it is not known here."""
    takes = _TAKES.get(one.opname)
    if takes is not None:
        return takes if isinstance(takes, int) else takes(one.arg or 0)
    return 0 if one.opname.startswith("LOAD_") else None
