"""Seeing whether functions run again, exactly: on CPython 3.12 and later.

``sys.monitoring`` has events that are local to a code object: nothing else pays for them. They are
set once there is something to find out, so a run that leaves nothing behind holds no tool id.

On 3.11, or where no tool id is free, it is not known what ran again.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from pytest_loopsafe._words.stacks import first_argument
from pytest_loopsafe._words.weak import Ref

_TOOL_NAME = "pytest-loopsafe"
_TOOL_IDS = (3, 4)
"""Ids that ``sys.monitoring`` reserves for nobody. The other way round than who follows errors
(`pytest_loopsafe._probes.swallowing`), for each needs one of its own."""

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


class _Tool:
    """The tool id that all who follow functions share, held while anybody follows one.

    There are two ids for everybody, and who follows errors needs the other.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._id: int | None = None
        self._followers: dict[int, tuple[CodeType, tuple[Reruns, ...]]] = {}

    def forked(self) -> None:
        """The lock's holder may have been a thread that a forked child does not have."""
        self._lock = threading.RLock()

    def add(self, code: CodeType, follower: Reruns) -> bool:
        """Tell somebody of each run of a function from now on; False where that cannot be."""
        with self._lock:
            if not self._switch_on():
                return False
            _, before = self._followers.get(id(code), (code, ()))
            self._followers[id(code)] = code, (*before, follower)
            if not before:
                self._set(code, _monitoring().events.PY_START)
            return True

    def remove(self, codes: Iterable[CodeType], follower: Reruns) -> None:
        """Tell him no more, and give the id back where nobody is left."""
        with self._lock:
            for code in codes:
                left = tuple(one for one in self._followers[id(code)][1] if one is not follower)
                if left:
                    self._followers[id(code)] = code, left
                else:
                    del self._followers[id(code)]
                    self._set(code, 0)
            if self._id is not None and not self._followers:
                monitoring = _monitoring()
                monitoring.register_callback(self._id, monitoring.events.PY_START, None)
                monitoring.free_tool_id(self._id)
                self._id = None

    def _switch_on(self) -> bool:
        if self._id is not None:
            return True
        monitoring = _monitoring()
        for tool in _TOOL_IDS if monitoring is not None else ():
            with suppress(ValueError):  # somebody else's
                monitoring.use_tool_id(tool, _TOOL_NAME)
                monitoring.register_callback(tool, monitoring.events.PY_START, self._started)
                self._id = tool
                return True
        return False

    def _set(self, code: CodeType, events: int) -> None:
        _monitoring().set_local_events(self._id, code, events)

    def _started(self, code: CodeType, offset: int) -> None:
        _, followers = self._followers.get(id(code), (code, ()))
        for follower in followers:
            follower.started(code, sys._getframe(1))


_TOOL = _Tool()


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
            if len(self._told) >= _MAX_CODES or not _TOOL.add(code, self):
                return
            self._told[id(code)] = code
        followed = self._followed.setdefault(id(code), _Followed(code))
        thing = bearer()
        if thing is not None:
            known = followed.objects.get(id(thing))
            if known is None or known[0]() is not thing:
                followed.objects[id(thing)] = bearer, _Last()
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
        return known[1].of(key) if known is not None and known[0]() is bearer else None

    def started(self, code: CodeType, frame: FrameType) -> None:
        """A function runs; its frame is at its first instruction."""
        followed = self._followed.get(id(code))
        if followed is None:
            return
        number, key = self._when()
        followed.last.note(number, key)
        if followed.objects:
            # Its first instruction: the function cannot have asked for its variables yet.
            own = first_argument(frame)
            known = followed.objects.get(id(own))
            if known is not None and known[0]() is own:
                known[1].note(number, key)

    def stop(self) -> None:
        """Follow nothing any more. What has been seen stays known."""
        _TOOL.remove(self._told.values(), self)
        self._told = {}

    def forked(self) -> None:
        """Go on in a forked child."""
        _TOOL.forked()


def _monitoring() -> Any:
    return getattr(sys, "monitoring", None)
