"""What each instruction of a function is given, and what comes of it.

The instructions are taken in their order, with a stack of what each leaves there. What a value is
says the reader: the place that it was loaded from, the object that it must be, whether it is an
answer. Of an instruction that is not known here only its effect on the stack counts, so a new
CPython's are no danger: they are merely not understood.
"""

from __future__ import annotations

import dis
import functools
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from pytest_loopsafe._bytecode.body import Body

T = TypeVar("T")


class Reader(ABC, Generic[T]):
    """Goes through a function once.

    Args:
        body: the function's.
        unknown: stands for a value of which nothing is known.
    """

    def __init__(self, body: Body, unknown: T) -> None:
        self.body = body
        self.unknown = unknown
        self._joins: dict[int, list[T]] = {}

    @abstractmethod
    def value(self, index: int, one: dis.Instruction, given: list[T]) -> T:
        """What an instruction makes of what it is given, the topmost last."""

    def either(self, here: T, there: T) -> T:
        """What is left by two branches: by the one just before, and by one that jumps here."""
        return there if here is self.unknown else here

    def read(self) -> None:
        """Go through it; once more, and what has come round in a loop is known too."""
        for entry in self.body.handlers:
            depth = entry.depth + entry.lasti + 1
            self._joins[self.body.at(entry.target)] = [self.unknown] * depth
        stack: list[T] | None = []
        for index, one in enumerate(self.body.instructions):
            stack = self._joined(stack, self._joins.pop(index, None))
            target = self.body.target(index)
            before = list(stack) if target is not None else []
            value = self._step(index, one, stack)
            if target is not None:
                side = self._jumped(one, before, stack, value)
                self._joins[target] = self._joined(self._joins.get(target), side)
            if not self.body.goes_on(index):
                stack = None

    def come_round(self) -> dict[int, list[T]]:
        """What is on the stack where a loop begins again."""
        return dict(self._joins)

    def _joined(self, here: list[T] | None, there: list[T] | None) -> list[T]:
        if here is None or there is None:
            return here or there or []
        return [
            one if one is two else self.either(one, two)
            for one, two in zip(here, there, strict=False)
        ]

    def _jumped(self, one: dis.Instruction, before: list[T], stack: list[T], value: T) -> list[T]:
        """What is on the stack where an instruction jumps to."""
        depth = len(before) + dis.stack_effect(one.opcode, one.arg, jump=True)
        if one.opname == "SEND":  # what falls through is handed on, what jumps is the result
            stack[-1:] = [self.unknown]
            return [*before[: depth - 1], value]
        return [*before, *[self.unknown] * depth][: max(depth, 0)]

    def _step(self, index: int, one: dis.Instruction, stack: list[T]) -> T:
        name, arg = one.opname, one.arg or 0
        if name in _NOTHING:
            return self.unknown
        if name == "COPY":
            stack.append(stack[-arg] if len(stack) >= arg else self.unknown)
            return stack[-1]
        if name == "SWAP":
            if len(stack) >= arg:
                stack[-1], stack[-arg] = stack[-arg], stack[-1]
            return self.unknown
        if name in COLLECTS:
            given = self._pop(stack, -dis.stack_effect(one.opcode, arg))
            if len(stack) >= arg:
                stack[-arg] = self.value(index, one, [stack[-arg], *given])
            return self.unknown
        takes, puts = _exchange(name, one.opcode, one.arg)
        given = self._pop(stack, takes)
        value = self.value(index, one, given)
        if name == "FOR_ITER":
            stack += given
        if puts:
            stack += [*[self.unknown] * (puts - 1), value]
        return value

    def _pop(self, stack: list[T], count: int) -> list[T]:
        given = stack[len(stack) - count :] if len(stack) >= count else stack[:]
        del stack[len(stack) - len(given) :]
        return [*[self.unknown] * (count - len(given)), *given]


def callee(one: dis.Instruction, given: list[T], unknown: T) -> tuple[T, list[T]]:
    """What a call calls, and the arguments that it gives it."""
    first = next((value for value in given[:2] if value is not unknown), unknown)
    return first, given[2 : 2 + (one.arg or 0)]


_NOTHING = frozenset(
    {"COPY_FREE_VARS", "EXTENDED_ARG", "KW_NAMES", "MAKE_CELL", "NOP", "NOT_TAKEN", "PRECALL"}
    | {"JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_FORWARD", "RESUME"}
    | {"SETUP_ANNOTATIONS"}
)
COLLECTS = frozenset(
    {"DICT_MERGE", "DICT_UPDATE", "LIST_APPEND", "LIST_EXTEND", "MAP_ADD", "SET_ADD", "SET_UPDATE"}
)
"""Instructions that put what they take into a collection further down on the stack."""

_ENDS = ("STORE_", "DELETE_", "POP_", "RAISE_", "RERAISE", "END_FOR", "JUMP_IF_")
"""Instructions that only take. Any other puts one value in the place of what it takes, except:"""
_TAKES = {
    **dict.fromkeys(("BEFORE_ASYNC_WITH", "BEFORE_WITH", "FOR_ITER", "GET_ITER", "LOAD_ATTR"), 1),
    **dict.fromkeys(("LOAD_SPECIAL", "RETURN_VALUE", "UNPACK_EX", "UNPACK_SEQUENCE"), 1),
    "LOAD_SUPER_ATTR": 3,
}


@functools.lru_cache(maxsize=1024)
def _exchange(name: str, opcode: int, arg: int | None) -> tuple[int, int]:
    """How many values an instruction takes from the stack, and how many it puts there."""
    if name == "CALL":  # on 3.11 half of it is another instruction's
        return (arg or 0) + 2, 1
    effect = dis.stack_effect(opcode, arg, jump=False)
    takes = -effect if name.startswith(_ENDS) else _TAKES.get(name, max(1 - effect, 0))
    puts = takes + effect
    return takes, puts - 1 if name == "FOR_ITER" else puts
