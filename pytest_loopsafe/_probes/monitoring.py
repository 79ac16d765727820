"""The one tool id by which functions are followed, on CPython 3.12 and later.

``sys.monitoring`` has events that are local to a code object: nothing else pays for them. Two ids
are everybody's, and who follows errors (`pytest_loopsafe._probes.swallowing`) needs one of them. So
all who follow functions share the other, and hold it while there is anything to follow.

On 3.11, or where no tool id is free, nothing is told.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import CodeType
from typing import Any

_TOOL_NAME = "pytest-loopsafe"
_TOOL_IDS = (3, 4)
"""Ids that ``sys.monitoring`` reserves for nobody. The other way round than who follows errors."""

RUNS, CALLS = "PY_START", "CALL"

Ear = Callable[..., None]
"""Of a function that runs it is told the code and the frame, which is at its first instruction; of
one that calls, what it calls and with which first argument."""


class Tool:
    """Tells of what happens in functions, to whoever follows them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._id: int | None = None
        self._ears: dict[str, dict[int, tuple[CodeType, tuple[Ear, ...]]]] = {RUNS: {}, CALLS: {}}

    def forked(self) -> None:
        """The lock's holder may have been a thread that a forked child does not have."""
        self._lock = threading.RLock()

    def add(self, event: str, code: CodeType, ear: Ear) -> bool:
        """Tell of a function from now on; False where that cannot be."""
        with self._lock:
            if not self._switch_on():
                return False
            _, before = self._ears[event].get(id(code), (code, ()))
            self._ears[event][id(code)] = code, (*before, ear)
            if not before:
                self._set(code)
            return True

    def remove(self, event: str, codes: Iterable[CodeType], ear: Ear) -> None:
        """Tell no more, and give the id back where nothing is left to tell."""
        with self._lock:
            for code in codes:
                left = tuple(one for one in self._ears[event][id(code)][1] if one != ear)
                if left:
                    self._ears[event][id(code)] = code, left
                else:
                    del self._ears[event][id(code)]
                    self._set(code)
            if self._id is not None and not any(self._ears.values()):
                monitoring = _monitoring()
                for name in self._ears:
                    monitoring.register_callback(self._id, getattr(monitoring.events, name), None)
                monitoring.free_tool_id(self._id)
                self._id = None

    def _switch_on(self) -> bool:
        if self._id is not None:
            return True
        monitoring = _monitoring()
        for tool in _TOOL_IDS if monitoring is not None else ():
            with suppress(ValueError):  # somebody else's
                monitoring.use_tool_id(tool, _TOOL_NAME)
                monitoring.register_callback(tool, monitoring.events.PY_START, self._ran)
                monitoring.register_callback(tool, monitoring.events.CALL, self._called)
                self._id = tool
                return True
        return False

    def _set(self, code: CodeType) -> None:
        events = _monitoring().events
        told = [getattr(events, name) for name, ears in self._ears.items() if id(code) in ears]
        _monitoring().set_local_events(self._id, code, sum(told))

    def _ran(self, code: CodeType, offset: int) -> None:
        for ear in self._ears[RUNS].get(id(code), (code, ()))[1]:
            ear(code, sys._getframe(1))

    def _called(self, code: CodeType, offset: int, called: Any, argument: Any) -> None:
        for ear in self._ears[CALLS].get(id(code), (code, ()))[1]:
            ear(called, argument)


TOOL = Tool()


def _monitoring() -> Any:
    return getattr(sys, "monitoring", None)
