"""How code may remember a loop by a number: its ``id()`` or its hash, as it is or within a text."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

_LONGEST_TEXT = 200


class How(StrEnum):
    """How a number stands to a thing."""

    KEY = "is a part of its key"
    BESIDE = "is beside it"
    LISTED = "is listed beside it"


@dataclass(frozen=True)
class Memory:
    """A place where a loop is remembered by its number, beside a thing.

    Attributes:
        path: the place as Python; of a key, what it is a key of.
        how: what the number is to the thing.
        held: the numbers and texts there, as objects: another of the same value was written anew.
            They may be kept, for they hold nothing.
    """

    path: str
    how: How
    held: tuple[int | str, ...]


@dataclass(frozen=True)
class Numbers:
    """What the loops of a run may be remembered by, also as a part of a text.

    Attributes:
        ints: their ``id()``s and hashes.
        before: objects that were there before the run, by ``id()``: of an earlier test's loops.
    """

    ints: frozenset[int]
    before: Mapping[int, int | str] = field(default_factory=dict)

    @functools.cached_property
    def _texts(self) -> tuple[str, ...]:
        return tuple(text for one in self.ints for text in (str(one), f"{one:x}"))

    def found_in(self, thing: Any, depth: int = 2) -> tuple[int | str, ...]:
        """The objects in a value or a key that are one of them, or have one in them."""
        if type(thing) is tuple:
            parts = thing if depth else ()
            return tuple(one for part in parts for one in self.found_in(part, depth - 1))
        if type(thing) is int:
            is_one = thing in self.ints
        elif type(thing) is str and len(thing) <= _LONGEST_TEXT:
            is_one = any(text in thing for text in self._texts)
        else:
            return ()
        return (thing,) if is_one and id(thing) not in self.before else ()


def may_be_one(thing: Any) -> bool:
    """Whether a value may be an address, or have one in it."""
    if type(thing) is int:
        return thing > _SMALLEST
    return type(thing) is str and len(thing) <= _LONGEST_TEXT and _DIGITS.search(thing) is not None


_SMALLEST = 0xFFFF
_DIGITS = re.compile("[0-9a-f]{5}")


@functools.cache
def are_asked_for_in(file: str) -> bool:
    """Whether the code of a file may ask for the ``id()`` or the hash of anything.

    This saves time, and decides nothing: where no code does, nothing has to be looked at after each
    pass. A file that cannot be read may.
    """
    try:
        text = Path(file).read_bytes() if file.endswith(".py") else None
    except OSError:
        text = None
    return text is None or _ASKS.search(text) is not None


_ASKS = re.compile(
    rb"(?<![\w.])(?:id|hash)\s*\("  # a call
    rb"|[=(,]\s*(?:id|hash)\s*(?:[),]|$)"  # handed on: map(id, loops), key=id, number_of = id
    rb"|\bbuiltins\b|\.__(?:hash|repr)__\b",
    re.MULTILINE,
)
