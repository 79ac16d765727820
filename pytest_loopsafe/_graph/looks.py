"""What a function looks at before it comes to a call: read from its bytecode.

``if not self.up: self.up = True; create_task(...)`` has one *look*: the attribute ``up`` of its
first argument, asked for its truth, and where that is true the call is not reached. A look can be
asked again later, of the same place, without running any code of the function's.

It is also told what a function *reads* of a place beyond asking (``return cache[key]``): a flag is
only asked and written, a cache is read.

Rejected: the source text, which may be missing, edited since, or another module's of the same
name; and from which one cannot tell where in a line the call is.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

from pytest_loopsafe._graph.bytecode import Asked, Place, Walk


@dataclass(frozen=True)
class Look:
    """A test on which it depends whether a call is reached; `bars`: the answer that bars the way.

    `asked` is None where it cannot be told what is tested.
    """

    asked: Asked | None
    bars: bool


@dataclass(frozen=True)
class Looks:
    """What a function does before, and apart from, one of its calls.

    Attributes:
        before: the tests on which the call depends, in their order.
        read: the places whose content it uses: it returns that, hands it on, calls its methods.
        filled: the places into which it puts something.
    """

    before: tuple[Look, ...]
    read: frozenset[Place]
    filled: frozenset[Place]


def looks(code: CodeType, offset: int) -> Looks:
    """What a function looks at before it comes to an instruction.

    Args:
        code: the function's.
        offset: a frame's ``f_lasti``. Before 3.13 that of a call is within its cache.
    """
    instructions = list(dis.get_instructions(code))
    offset = max(one.offset for one in instructions if one.offset <= max(offset, 0))
    walk = Walk.through(code, instructions)
    before = [
        *_in_the_way(walk, instructions, offset),
        *_behind_an_error(walk, instructions, offset),
    ]
    return Looks(tuple(before), frozenset(walk.read), frozenset(walk.filled))


def _in_the_way(walk: Walk, instructions: list[dis.Instruction], offset: int) -> Iterator[Look]:
    """Of which only one side leads to the call, going forward."""
    leads = _leading_to(instructions, offset)
    for jump in walk.jumps:
        if jump.offset < offset and (jump.target in leads) != (jump.beyond in leads):
            bars = jump.if_true if jump.beyond in leads else not jump.if_true
            tested = jump.tested
            yield Look(tested, bars if tested is None or not tested.negated else not bars)


def _leading_to(instructions: list[dis.Instruction], offset: int) -> set[int]:
    """The offsets from which an offset is reached, going forward and without an error."""
    leads: set[int] = set()
    following: int | None = None
    for one in reversed(instructions):
        jumps = one.opcode in dis.hasjrel or one.opcode in dis.hasjabs
        target = int(one.argval) if jumps and one.argval > one.offset else None
        goes_on = following if one.opname not in _ENDS else None
        if one.offset == offset or target in leads or goes_on in leads:
            leads.add(one.offset)
        following = one.offset
    return leads


_ENDS = frozenset(
    {"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "RAISE_VARARGS", "RERAISE"}
    | {"RETURN_VALUE", "RETURN_CONST"}
)


def _behind_an_error(
    walk: Walk, instructions: list[dis.Instruction], offset: int
) -> Iterator[Look]:
    """``try: return cache[key]``, ``except KeyError:`` and then the call: what was looked up."""
    leads = _leading_to(instructions, offset)
    if instructions[0].offset in leads:
        return
    for entry in getattr(dis.Bytecode(walk.code), "exception_entries", ()):
        if entry.target in leads:
            for where, asked in walk.lookups:
                if entry.start <= where < entry.end:
                    yield Look(Asked(asked.place, "in", asked.argument), bars=True)
