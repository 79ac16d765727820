"""Timers that call what is not the user's code, for LS207: ``call_later(60, cache.pop, key)``.

What such a timer is for cannot be read from what it calls. So it is known by the function that has
set it, and by the thing whose method it calls: that is there as long as the timer is.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import CodeType
from typing import Any

from pytest_loopsafe._graph.starters import Starter, starters
from pytest_loopsafe._rules.ls207_evidence import Lost
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.stacks import Frame, stack_here

_MAX_TIMERS = 1_000


@dataclass(frozen=True)
class _Setting:
    """Where one was set, and in which loop."""

    chain: tuple[Starter, ...]
    frames: tuple[Frame, ...]
    loop: int


class ThingsTimers:
    """Notes who sets such timers."""

    def __init__(self) -> None:
        self._settings: dict[tuple[int, str], _Setting] = {}  # by the id() of the thing
        self._setters: dict[int, tuple[CodeType, int]] = {}  # by the id() of the code

    def is_set(self, thing: Any, method: str, loop: int) -> None:
        """Note that one is being set."""
        chain = starters()
        if chain:
            _put(self._settings, (id(thing), method), _Setting(chain, stack_here(), loop))
            _put(self._setters, id(chain[0].code), (chain[0].code, loop))

    def last_set_by(self, code: CodeType) -> int:
        """The last loop in which a function has set any; 0 for none."""
        return self._setters.get(id(code), (code, 0))[1]

    def lost(self, thing: Any, method: str, loop: LoopInfo) -> Lost | None:
        """One that a loop takes down with it; None where nobody saw it being set."""
        setting = self._settings.get((id(thing), method))
        if setting is None or setting.loop != loop.number:
            return None
        return Lost(
            f"a timer that was to call {type(thing).__qualname__}.{method}()",
            setting.chain[0].code,
            loop,
            setting.frames,
            setting.chain,
            kind="once",
            calls_thing=True,
        )


def _put(where: dict[Any, Any], key: object, value: Any) -> None:
    where.pop(key, None)
    where[key] = value
    if len(where) > _MAX_TIMERS:
        del where[next(iter(where))]
