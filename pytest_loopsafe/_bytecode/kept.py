"""What was read of functions, kept for the next question."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType
from typing import TypeVar

T = TypeVar("T")

_MANY = 1024


def for_each_code(read: Callable[[CodeType], T]) -> Callable[[CodeType], T]:
    """Keep what a function reads of each code object.

    It is known by its ``id()``, and kept, so that the number stays its own. ``functools.lru_cache``
    would hash it, and to hash a code reads all of it: 4 µs for a long one, where a lock is made.
    """
    known: dict[int, tuple[CodeType, T]] = {}

    @functools.wraps(read)
    def kept(code: CodeType) -> T:
        entry = known.get(id(code))
        if entry is None:
            if len(known) >= _MANY:
                known.clear()
            entry = known[id(code)] = code, read(code)
        return entry[1]

    return kept
