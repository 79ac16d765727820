"""Who made something: the user's functions that ran then, and where these put what they make.

While code runs only code objects, lines and calls are noted. Where a function writes to is read
from its bytecode, at rest: for that no source is needed, and none is read in a running loop.
"""

from __future__ import annotations

from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._bytecode import Body
from pytest_loopsafe._bytecode.places import stored_by
from pytest_loopsafe._ledger.records import Maker
from pytest_loopsafe._words.stacks import (
    first_argument,
    is_library,
    is_method,
    live_frames,
    suspended_frames,
)

_WAITERS = 3
"""So far out it is looked for who wants what a task makes."""


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
            bearer = first_argument(frame) if is_method(code) else None
            bearer_id = id(bearer) if bearer is not None else None
            found.append(Maker(code, frame.f_lineno, bearer_id, id(frame)))
    return tuple(found)


def filled_by(maker: Maker) -> frozenset[str]:
    """The names that a function writes to: variables of others, attributes, containers."""
    return stored_by(maker.code).names


def filled_if_empty_by(maker: Maker) -> frozenset[str]:
    """The same, of a function that looks at one of these names before it comes to its line."""
    names = filled_by(maker)
    for one in Body.of(maker.code).instructions:
        line = one.positions.lineno if one.positions is not None else None
        if line is not None and line < maker.line and one.opname in _LOOKS and one.argval in names:
            return names
    return frozenset()


_LOOKS = ("LOAD_ATTR", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")
