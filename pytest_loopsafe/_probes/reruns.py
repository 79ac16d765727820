"""Seeing whether functions run again, exactly: on CPython 3.12 and later.

They are followed once there is something to find out, so a run that leaves nothing behind holds no
tool id (`pytest_loopsafe._probes.monitoring`). On 3.11, or where none is free, it is not known what
ran again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from pytest_loopsafe._probes.monitoring import RUNS, TOOL
from pytest_loopsafe._words.stacks import first_argument
from pytest_loopsafe._words.weak import Address, Ref

_MAX_CODES = 1_000
_MAX_OBJECTS = 20
"""For each function so many are told apart, the last ones."""

When = Callable[[], tuple[int, str | None]]
"""Tells the number of the loop that running code belongs to, and what its pass runs."""


@dataclass
class _Last:
    """The last loop in which something happened, for each key of a pass."""

    by_key: dict[str | None, int] = field(default_factory=dict)

    def note(self, number: int, key: str | None) -> None:
        self.by_key[key] = max(number, self.by_key.get(key, 0))

    def of(self, key: str | None) -> int:
        """In passes of this key; None stands for all."""
        return max(self.by_key.values(), default=0) if key is None else self.by_key.get(key, 0)


@dataclass
class _Followed:
    """A function: when it ran again, and when as the method of each object, by its ``id()``."""

    code: CodeType
    last: _Last = field(default_factory=_Last)
    objects: dict[int, tuple[Ref, _Last]] = field(default_factory=dict)


class Reruns:
    """Follows functions from the moment that something they have started is lost.

    Args:
        when: asked at each call of a function that is followed.
    """

    def __init__(self, when: When) -> None:
        self._when = when
        self._followed: dict[int, _Followed] = {}  # by the id() of the code
        self._told: dict[int, CodeType] = {}  # by its id(): what the tool tells of

    def follow(self, code: CodeType, bearer: Ref) -> None:
        """See from now on whether a function runs, also as the method of this object."""
        if id(code) not in self._told:
            if len(self._told) >= _MAX_CODES or not TOOL.add(RUNS, code, self._ran):
                return
            self._told[id(code)] = code
        followed = self._followed.setdefault(id(code), _Followed(code))
        thing = bearer()
        if thing is not None:
            known = followed.objects.get(id(thing))
            if known is None or not _is_of(known[0], thing):
                followed.objects[id(thing)] = bearer, _Last()
        elif type(bearer) is Address:
            known = followed.objects.get(bearer.number)
            if known is None or not bearer.is_same(known[0]):
                followed.objects[bearer.number] = bearer, _Last()
        if len(followed.objects) > _MAX_OBJECTS:
            del followed.objects[next(iter(followed.objects))]

    def last(self, code: CodeType, key: str | None) -> int | None:
        """The last loop in which a function ran again, in passes of a key; 0 for none.

        None where nobody saw.
        """
        followed = self._followed.get(id(code))
        return followed.last.of(key) if followed is not None else None

    def last_of(self, code: CodeType, bearer: Any, key: str | None) -> int | None:
        """The same, as the method of this object."""
        followed = self._followed.get(id(code))
        known = followed.objects.get(id(bearer)) if followed is not None else None
        return known[1].of(key) if known is not None and _is_of(known[0], bearer) else None

    def _ran(self, code: CodeType, frame: FrameType) -> None:
        followed = self._followed.get(id(code))
        if followed is None:
            return
        number, key = self._when()
        followed.last.note(number, key)
        if followed.objects:
            # Its first instruction: the function cannot have asked for its variables yet.
            own = first_argument(frame)
            known = followed.objects.get(id(own))
            if known is not None and _is_of(known[0], own):
                known[1].note(number, key)

    def stop(self) -> None:
        """Follow nothing any more. What has been seen stays known."""
        TOOL.remove(RUNS, self._told.values(), self._ran)
        self._told = {}

    def forked(self) -> None:
        """Go on in a forked child."""
        TOOL.forked()


def _is_of(ref: Ref, thing: Any) -> bool:
    return ref.is_of(thing) if type(ref) is Address else ref() is thing
