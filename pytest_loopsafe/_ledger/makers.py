"""Who made something: the user's functions that ran then, and where these put what they make.

While code runs only code objects, lines and calls are noted. Where a function writes to is read
from its bytecode, at rest: for that no source is needed, and none is read in a running loop.
"""

from __future__ import annotations

import dis
from types import CodeType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._ledger.records import Maker
from pytest_loopsafe._words.stacks import first_argument, is_library, live_frames, suspended_frames

_WAITERS = 3
"""So far out it is looked for who wants what a task makes."""

_STORES = ("STORE_ATTR", "STORE_GLOBAL", "STORE_NAME", "STORE_DEREF")
_LOOKS = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")
_FILLS = frozenset({"add", "append", "appendleft", "insert", "put", "put_nowait", "setdefault"})


def makers_of(task: Any) -> tuple[Maker, ...]:
    """The user's functions that a task runs now, the outermost first.

    And those of the tasks that wait for it: before 3.12 ``wait_for`` makes a task of what it is
    given, as ``gather`` does on every version.
    """
    frames = live_frames()
    begins = [
        n for n, frame in enumerate(frames) if frame.f_code.co_qualname == _cpython.CALLBACK_BEGINS
    ]
    frames = frames[begins[-1] if begins else 0 :]
    for _ in range(_WAITERS if task is not None else 0):
        task = _cpython.awaiter_of(task)
        if task is None:
            break
        frames = [*suspended_frames(task.get_coro())[0], *frames]
    found: list[Maker] = []
    for frame in frames:
        code = frame.f_code
        if not is_library(code.co_filename):
            bearer = first_argument(frame) if "." in _local_name(code) else None
            bearer_id = id(bearer) if bearer is not None else None
            found.append(Maker(code, frame.f_lineno, bearer_id, id(frame)))
    return tuple(found)


def _local_name(code: CodeType) -> str:
    return code.co_qualname.rpartition("<locals>.")[2]


def filled_by(maker: Maker) -> frozenset[str]:
    """The names that a function writes to: variables of others, attributes, containers."""
    found: set[str] = set()
    before: list[str] = []
    for instruction in dis.get_instructions(maker.code):
        name = instruction.argval if type(instruction.argval) is str else ""
        if instruction.opname in _STORES:
            found.add(name)
        elif instruction.opname == "STORE_SUBSCR":
            found.update(before[-_NEAR:])
        elif instruction.opname in _LOOKS:
            if name in _FILLS:
                found.update(before[-1:])
            before.append(name)
    return frozenset(found)


_NEAR = 3
"""``self.clients[key] = client``: the container is among the last that were looked at."""


def filled_if_empty_by(maker: Maker) -> frozenset[str]:
    """The same, of a function that looks at one of these names before it comes to its line."""
    names, looked = filled_by(maker), False
    line = 0
    for instruction in dis.get_instructions(maker.code):
        line = _line_of(instruction) or line
        if instruction.opname in _LOOKS and instruction.argval in names and line < maker.line:
            looked = True
    return names if looked else frozenset()


def _line_of(instruction: dis.Instruction) -> int | None:
    return instruction.positions.lineno if instruction.positions is not None else None
