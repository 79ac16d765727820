"""What rules about uses need: something kept for each primitive, and where a use was."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any, Generic, TypeVar

from pytest_loopsafe._probes.uses import CouldWait
from pytest_loopsafe._words.answers import Place
from pytest_loopsafe._words.stacks import (
    Frame,
    describe_frames,
    stack_here,
    suspended_frames,
    users_of,
    waiters_frames,
)

T = TypeVar("T")


class ByPrimitive(Generic[T]):
    """Something for each primitive that lives. It goes with it, and asks nothing of it.

    Rejected: a WeakKeyDictionary, which hashes and compares what may be the user's own class.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._kept: dict[int, tuple[weakref.ref[Any], T]] = {}

    def of(self, primitive: Any) -> T:
        """What is kept for a primitive."""
        key = id(primitive)
        entry = self._kept.get(key)
        if entry is not None and entry[0]() is primitive:
            return entry[1]
        kept = self._make()

        def forget(ref: weakref.ref[Any]) -> None:
            current = self._kept.get(key)
            if current is not None and current[0] is ref:
                self._kept.pop(key, None)

        with suppress(TypeError):  # a class without weak references: it cannot be recognised later
            self._kept[key] = (weakref.ref(primitive, forget), kept)
        return kept


def frames_of(sighting: CouldWait) -> tuple[Frame, ...]:
    """Where a primitive was used: where its holder took it, or else what runs now."""
    if sighting.taken is None:
        return stack_here()
    code, offset = sighting.taken
    frames: list[FrameType] = []
    if sighting.holder is not None:
        frames, _ = suspended_frames(sighting.holder.get_coro())
        codes = [frame.f_code for frame in frames]
        del frames[codes.index(code) if code in codes else len(codes) :]
    found = (*describe_frames(frames), _frame_at(code, offset))
    if sighting.holder is not None and all(frame.library for frame in found):
        found = (*waiters_frames(sighting.holder), *found)
    return found


def users_of_use(sighting: CouldWait) -> tuple[Any, ...] | None:
    """The objects whose methods were at it; None for those that run now. Not to be kept."""
    return users_of(sighting.holder.get_coro()) if sighting.holder is not None else None


def frames_at(where: Iterable[Place]) -> tuple[Frame, ...]:
    """Where code was, from what was kept of it: innermost first given, outermost first told."""
    return tuple(_frame_at(code, offset) for code, offset in where)[::-1]


def _frame_at(code: CodeType, offset: int) -> Frame:
    lines = (number for start, end, number in code.co_lines() if start <= offset < end)
    line = next(lines, None) or code.co_firstlineno
    return Frame(code.co_filename, line, code.co_qualname, code.co_firstlineno)
