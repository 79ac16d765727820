"""Seeing who sets a context variable, and who asks one that is not set: on CPython 3.12 and later.

The type is C code's and cannot be patched. So the calls of the functions that may do either are
followed; which these are is found when all rests (`pytest_loopsafe._graph.variables`).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from types import CodeType
from typing import Any

from pytest_loopsafe._probes.instrumentation import PROCESS, Sighting
from pytest_loopsafe._probes.monitoring import CALLS, TOOL


@dataclass(frozen=True)
class VariableSet(Sighting):
    """A context variable is about to be set."""

    variable: ContextVar[Any]


@dataclass(frozen=True)
class VariableMissed(Sighting):
    """A context variable was asked for its value, and has none in this context."""

    variable: ContextVar[Any]


class VariableCalls:
    """Follows functions that set and ask context variables."""

    def __init__(self) -> None:
        self._codes: dict[int, CodeType] = {}

    def follow(self, codes: Iterable[CodeType]) -> None:
        """See from now on what these do."""
        for code in codes:
            if id(code) not in self._codes and TOOL.add(CALLS, code, self._called):
                self._codes[id(code)] = code

    def stop(self) -> None:
        """Follow nothing any more."""
        TOOL.remove(CALLS, self._codes.values(), self._called)
        self._codes = {}

    def _called(self, called: Any, argument: Any) -> None:
        if type(argument) is ContextVar:
            if called is _SET:
                PROCESS.emit(VariableSet(argument))
            elif called is _GET and argument not in copy_context():
                PROCESS.emit(VariableMissed(argument))


_SET, _GET = vars(ContextVar)["set"], vars(ContextVar)["get"]
