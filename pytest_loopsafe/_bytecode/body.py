"""The instructions of a code object, and which may run after which.

They are named alike on every version: two that the compiler has made one of are two again, and what
loads, looks up or subscribes has one name each. An instruction is known by its index.
"""

from __future__ import annotations

import dis
import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any


@dataclass(frozen=True, eq=False)
class Body:
    """A code object's instructions.

    Attributes:
        instructions: in their order.
        handlers: the entries of its exception table.
    """

    instructions: tuple[dis.Instruction, ...]
    handlers: tuple[Any, ...]
    _indices: dict[int, int]

    @classmethod
    def read(cls, code: CodeType) -> Body:
        """Read a code object, and keep nothing."""
        bytecode: Any = dis.Bytecode(code)
        instructions = tuple(part for one in bytecode for part in _parts(one))
        indices: dict[int, int] = {}
        for index, one in enumerate(instructions):
            indices.setdefault(one.offset, index)
        return cls(instructions, tuple(bytecode.exception_entries), indices)

    @staticmethod
    @functools.lru_cache(maxsize=64)
    def of(code: CodeType) -> Body:
        """The same, kept for the next question."""
        return Body.read(code)

    @staticmethod
    def forget() -> None:
        """Let go of what is kept: the collector would walk it while the code under test runs."""
        Body.of.cache_clear()

    def at(self, offset: int) -> int:
        """The index for an offset; in a frame that calls it may be that of the cache behind it."""
        while offset > 0 and offset not in self._indices:
            offset -= 2
        index = self._indices.get(offset, 0)
        # On 3.11 a call that has been made often is made by the instruction before it.
        return index + (self.instructions[index].opname == "PRECALL")

    def target(self, index: int) -> int | None:
        """Where an instruction jumps, or may jump."""
        one = self.instructions[index]
        return self.at(one.argval) if one.opcode in _JUMPS else None

    def goes_on(self, index: int) -> bool:
        """Whether the next one may come after it."""
        is_last = index + 1 == len(self.instructions)
        return not is_last and self.instructions[index].opname not in _NEVER_ON

    def after(self, index: int) -> Iterator[int]:
        """What may come next: the target of a jump first. An error leads nowhere."""
        target = self.target(index)
        if target is not None:
            yield target
        if self.goes_on(index):
            yield index + 1

    def sides(self, jump: int, goals: Collection[int], without: Collection[int]) -> list[int]:
        """The sides of a jump that lead to one of these without passing one of those."""
        return [side for side in self.after(jump) if self.reaches(side, goals, without)]

    def reaches(self, start: int, goals: Collection[int], without: Collection[int] = ()) -> bool:
        """Whether an instruction leads to one of these without passing one of those."""
        seen, pending = set(without), [start]
        while pending:
            index = pending.pop()
            if index in goals:
                return True
            if index not in seen:
                seen.add(index)
                pending += self.after(index)
        return False

    def ways_to(self, call: int) -> set[int]:
        """What has to be reached for an instruction to run: itself, or what may raise before it.

        What lies in an ``except`` clause is come to by an error of its ``try`` block alone.
        """
        goals, entered = {call}, set[int]()
        while not self.reaches(0, goals):
            handlers = [
                entry
                for entry in self.handlers
                if entry.target not in entered and self.reaches(self.at(entry.target), goals)
            ]
            if not handlers:
                break
            entered.update(entry.target for entry in handlers)
            goals |= {
                index
                for index, one in enumerate(self.instructions)
                if one.opname not in _QUIET
                and any(entry.start <= one.offset < entry.end for entry in handlers)
            }
        return goals

    def copies(self, index: int) -> set[int]:
        """What does the same: a loop's condition is compiled twice, and so are short endings."""
        one = self.instructions[index]
        if one.positions is None or one.positions.col_offset is None:  # -X no_debug_ranges
            return {index}
        alike = (one.opname, one.positions)
        return {
            n for n, two in enumerate(self.instructions) if (two.opname, two.positions) == alike
        }


# From 3.14 on END_ASYNC_FOR names the SEND whose error it takes, and jumps nowhere.
_JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs)).difference({dis.opmap["END_ASYNC_FOR"]})
_NEVER_ON = frozenset(
    {"JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_FORWARD", "RAISE_VARARGS", "RERAISE"}
    | {"RETURN_VALUE"}
)
_QUIET = frozenset(
    {"COPY", "JUMP_FORWARD", "LOAD_CONST", "LOAD_FAST", "NOP", "POP_TOP", "PUSH_EXC_INFO"}
    | {"PUSH_NULL", "RESUME", "RETURN_VALUE", "STORE_FAST", "SWAP"}
)
"""Instructions that raise nothing."""

_ALIKE = {
    "LOAD_METHOD": "LOAD_ATTR",
    "LOAD_SMALL_INT": "LOAD_CONST",
    "LOAD_FAST_BORROW": "LOAD_FAST",
    "LOAD_FAST_CHECK": "LOAD_FAST",
    "STORE_NAME": "STORE_GLOBAL",
    **{
        f"POP_JUMP_{way}_IF_{test}": f"POP_JUMP_IF_{test}"  # 3.11
        for way in ("BACKWARD", "FORWARD")
        for test in ("FALSE", "NONE", "NOT_NONE", "TRUE")
    },
}
_PAIRS = {
    "LOAD_FAST_LOAD_FAST": ("LOAD_FAST", "LOAD_FAST"),
    "LOAD_FAST_BORROW_LOAD_FAST_BORROW": ("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_LOAD_FAST": ("STORE_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": ("STORE_FAST", "STORE_FAST"),
}

_COMMON = {"None": None, "True": True, "False": False}


def _parts(one: dis.Instruction) -> Iterator[dis.Instruction]:
    name = one.opname
    if name in _PAIRS:
        for part, variable in zip(_PAIRS[name], one.argval, strict=True):
            yield one._replace(opname=part, opcode=dis.opmap[part], argval=variable)
    elif name == "RETURN_CONST":
        yield one._replace(opname="LOAD_CONST", opcode=dis.opmap["LOAD_CONST"])
        yield one._replace(opname="RETURN_VALUE", opcode=dis.opmap["RETURN_VALUE"], arg=None)
    elif name == "LOAD_COMMON_CONSTANT" and one.argrepr in _COMMON:  # 3.15
        constant = _COMMON[one.argrepr]
        yield one._replace(opname="LOAD_CONST", opcode=dis.opmap["LOAD_CONST"], argval=constant)
    elif name == "BINARY_OP" and one.argrepr.startswith("["):  # 3.14: container[key]
        yield one._replace(opname="BINARY_SUBSCR")
    elif name in _ALIKE:
        yield one._replace(opname=_ALIKE[name])
    elif name != "CACHE":
        yield one
