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
from collections.abc import Sequence
from types import CodeType, FrameType

from pytest_loopsafe._bytecode import COLLECTS, Body, Reader

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
        answer = _Answer(Body.of(code), offset)
        answer.follow()
        for later, used_at in use:
            if later is code:  # this call had not ended yet
                used = answer.body.copies(answer.body.at(used_at))
                return any(answer.decides(jump, used) for jump in answer.jumps)
        # It has ended: what it returned depends on the answer, and is an answer to its caller.
        if not answer.jumps and not answer.returned:
            return False
    return False


class _Answer(Reader[bool]):
    """Where an answer goes, and what is made of it: the jumps that hang on it, or the caller.

    A value says whether it is the answer, or made of it.
    """

    def __init__(self, body: Body, offset: int) -> None:
        super().__init__(body, unknown=False)
        self.jumps: set[int] = set()
        self.returned = False
        self._variables: set[str] = set()
        self._asked = body.at(offset)
        self._question = body.copies(self._asked)

    def follow(self) -> None:
        """Until nothing more depends on it: what is stored may be read before, in a loop."""
        known: object = None
        while known != (now := (len(self.jumps), len(self._variables), self.come_round())):
            known = now
            self.read()

    def decides(self, jump: int, uses: set[int]) -> bool:
        """Whether one side of a jump alone leads there, unless the question is asked again."""
        return len(self.body.sides(jump, uses, self._question)) == 1

    def either(self, here: bool, there: bool) -> bool:
        return here or there

    def value(self, index: int, one: dis.Instruction, given: list[bool]) -> bool:
        name = one.opname
        is_asked = index == self._asked
        is_answer = any(given[-1:] if name == "END_SEND" else given)
        if "JUMP_IF_" in name or name == "FOR_ITER":
            if is_answer or is_asked:  # it may call a ``__bool__``
                self.jumps.add(index)
            return False
        if name in _LOADS:
            return one.argval in self._variables
        if name in _STORES and is_answer:
            self._variables.add(one.argval)
        elif name in ("RETURN_VALUE", "YIELD_VALUE"):
            self.returned |= is_answer
        elif name == "SEND":  # an await that has ended
            return is_asked
        elif name in COLLECTS:
            # ``[one for one in locks if not one.locked()]`` depends on each answer.
            return is_answer or any(self.decides(jump, {index}) for jump in self.jumps)
        return is_asked or (is_answer and "WITH" not in name)


_LOADS = ("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")
_STORES = ("STORE_FAST", "STORE_GLOBAL", "STORE_DEREF")
