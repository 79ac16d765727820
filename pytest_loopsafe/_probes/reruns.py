"""Seeing whether functions run again, exactly: on CPython 3.12 and later.

``sys.monitoring`` has events that are local to a code object: nothing else pays for them. They are
set once there is something to find out, so a run that leaves nothing behind holds no tool id.

On 3.11, or where no tool id is free, it is not known what ran again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import CodeType
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


class Reruns:
    """Follows functions from the moment that something they have started is lost.

    Args:
        when: asked at each call of a function that is followed.
    """

    def __init__(self, when: When) -> None:
        self._when = when
        self._tool: int | None = None
        self._followed: dict[int, _Followed] = {}  # by the id() of the code

    def follow(self, code: CodeType, bearer: Ref) -> None:
        """See from now on whether a function runs, also as the method of this object."""
        followed = self._followed.get(id(code))
        if followed is None:
            if len(self._followed) >= _MAX_CODES or not self._switch_on():
                return
            followed = self._followed[id(code)] = _Followed(code)
            self._set(code, _monitoring().events.PY_START)
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

    def stop(self) -> None:
        """Give the tool id back. What has been seen stays known."""
        if self._tool is None:
            return
        for followed in self._followed.values():
            self._set(followed.code, 0)
        monitoring = _monitoring()
        monitoring.register_callback(self._tool, monitoring.events.PY_START, None)
        monitoring.free_tool_id(self._tool)
        self._tool = None

    def _switch_on(self) -> bool:
        if self._tool is not None:
            return True
        monitoring = _monitoring()
        for tool in _TOOL_IDS if monitoring is not None else ():
            with suppress(ValueError):  # somebody else's
                monitoring.use_tool_id(tool, _TOOL_NAME)
                monitoring.register_callback(tool, monitoring.events.PY_START, self._started)
                self._tool = tool
                return True
        return False

    def _set(self, code: CodeType, events: int) -> None:
        _monitoring().set_local_events(self._tool, code, events)

    def _started(self, code: CodeType, offset: int) -> None:
        followed = self._followed.get(id(code))
        if followed is None:
            return
        number, key = self._when()
        followed.last.note(number, key)
        if followed.objects:
            # Its first instruction: the function cannot have asked for its variables yet.
            own = first_argument(sys._getframe(1))
            known = followed.objects.get(id(own))
            if known is not None and known[0]() is own:
                known[1].note(number, key)


def _monitoring() -> Any:
    return getattr(sys, "monitoring", None)
