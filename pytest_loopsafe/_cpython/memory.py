"""Memory: how much of it a loop takes, so that something else can hold its place."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe._cpython.loops import BaseEventLoop
from pytest_loopsafe._cpython.topic import Topic

_INSTANCES_THAT_SHRINK = 40
_LENGTHS = tuple(size - sys.getsizeof(b"") for size in range(48, 513, 16))
"""Of ``bytes`` that fill the blocks of pymalloc, which serves up to 512 bytes, in steps of 16."""
_LARGEST_OFFSET = 64
_TRIES = 8
_ROUNDS = 3
"""A collection or another thread may take what was just freed, and so spoil an experiment."""


@dataclass(frozen=True)
class Footprint:
    """The memory that an instance of a loop class lies in, as other objects can take it.

    Attributes:
        length: of a ``bytes`` that the allocator serves from the same blocks.
        offset: from the ``id()`` of that ``bytes`` to that of a loop in the same block, in bytes:
            what the collector and the attributes' dictionary have in front of it.
    """

    length: int
    offset: int

    def fill(self) -> tuple[int, bytes]:
        """Take the next block: the ``id()`` that a loop would have had there, and what holds it."""
        block = bytes(self.length)
        return id(block) + self.offset, block


def footprint(kind: Any) -> Footprint | None:
    """Find out by experiment how much memory CPython gives to an instance of a loop class.

    It depends on the class, the version and the allocator's settings, and nothing tells it whole
    (``sys.getsizeof`` does not know of all that lies inline). The block that was freed last is the
    next to be given, so a ``bytes`` of the right length lies where an instance just was.

    Returns:
        None where instances cannot be made without ``__init__`` or the allocator is another one.
    """
    if not _can_be_blank(kind):
        return None
    # Since 3.13 attributes lie inline, and each new instance has room for one fewer that its class
    # does not know yet (``dk_usable``), down to one: the first thirty or so are larger than others.
    instances = [_blank(kind) for _ in range(_INSTANCES_THAT_SHRINK)]
    del instances
    for length in _LENGTHS * _ROUNDS:
        offsets = [_offset(kind, length) for _ in range(_TRIES)]
        offset = max(set(offsets), key=offsets.count)
        if 0 <= offset <= _LARGEST_OFFSET and offsets.count(offset) > _TRIES // 2:
            return Footprint(length, offset)
    return None


def _offset(kind: Any, length: int) -> int:
    """From a ``bytes`` of this length to an instance that was there just before, if it was."""
    place = id(_blank(kind))
    return place - id(bytes(length))


def _can_be_blank(kind: Any) -> bool:
    """Whether an instance can be made and let go of without running a line of the user's."""
    return issubclass(kind, BaseEventLoop) and all(
        next(base for base in kind.__mro__ if name in vars(base)) in (BaseEventLoop, object)
        for name in ("__new__", "__setattr__", "__del__", "is_closed")
    )


def _blank(kind: Any) -> Any:
    """An instance that was never initialised: to its finalizer a closed one, nothing to warn of."""
    blank = object.__new__(kind)
    blank._closed = True
    return blank


def _takes_places() -> bool:
    is_quiet = _blank(BaseEventLoop).is_closed()
    return is_quiet and any(_finds_places() for _ in range(_ROUNDS))


def _finds_places() -> bool:
    found = footprint(BaseEventLoop)
    return found is not None and any(_is_place(found, BaseEventLoop) for _ in range(_TRIES))


def _is_place(found: Footprint, kind: Any) -> bool:
    place, block = found.fill()
    del block
    return id(_blank(kind)) == place


TOPICS = (Topic("how a loop's address is taken", ("LS204",), _takes_places),)
