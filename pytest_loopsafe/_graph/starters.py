"""Which of the user's functions have started something: those that run, or that wait for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FrameType,
    GeneratorType,
)
from typing import Any, cast

from pytest_loopsafe import _cpython
from pytest_loopsafe._words.stacks import (
    first_argument,
    is_library,
    is_method,
    suspended_chain,
)
from pytest_loopsafe._words.ways import entered_generators
from pytest_loopsafe._words.weak import Address, Ref, nowhere, weak_or_address
from pytest_loopsafe._words.whose import TERRITORY, Whose

_MAX_STARTERS = 8


@dataclass(frozen=True)
class Starter:
    """One function that was running when work was started.

    Attributes:
        code: the function's.
        offset: the instruction at which it was.
        module: where it looks for globals.
        bearer: the object whose method it is; at rest `Bearers` tells more of it.
    """

    code: CodeType
    offset: int
    module: str
    bearer: Ref


class Bearers:
    """The objects whose methods they are, found once for one moment when all rests.

    Where there is an address only, another object may be there by now: it counts only if a global
    of the user's reaches it.

    Args:
        is_kept: tells whether one does.
    """

    def __init__(self, is_kept: Callable[[Any], bool]) -> None:
        self._is_kept = is_kept
        self._found: dict[Address, Any] = {}

    def of(self, starter: Starter) -> Any:
        """The object; None where it is gone, or there is none."""
        ref = starter.bearer
        if type(ref) is not Address:
            return ref()
        if ref not in self._found:
            thing = ref.find()
            self._found[ref] = thing if thing is not None and self._is_kept(thing) else None
        return self._found[ref]


def starters(*, within: bool = False) -> tuple[Starter, ...]:
    """The user's functions that are running now in this pass, the innermost first.

    Args:
        within: only those within the running loop, and not who runs it.
    """
    found: list[Starter] = []
    frame: FrameType | None = sys._getframe(1)
    begun, task = False, _cpython.current_task() if within else None
    outermost = getattr(task.get_coro(), "cr_frame", None) if task is not None else None
    whose = TERRITORY.view.whose
    while frame is not None and len(found) < _MAX_STARTERS:
        code = frame.f_code
        who = whose[code.co_filename]
        if who is Whose.PYTEST or (begun and who in _RUNNERS):
            break  # who runs the pass is not in it
        if who is not Whose.HOOK and who not in _RUNNERS:
            begun = True
            if who is Whose.USER:
                found.append(_starter(frame))
            if within and (frame is outermost or code.co_qualname == _cpython.CALLBACK_BEGINS):
                break
        frame = frame.f_back
    return tuple(found)


_RUNNERS = frozenset({Whose.OURS, Whose.LAUNCHER})


def _starter(frame: FrameType) -> Starter:
    code = frame.f_code
    bearer = weak_or_address(first_argument(frame)) if is_method(code) else nowhere
    module = frame.f_globals.get("__name__")
    return Starter(code, frame.f_lasti, module if type(module) is str else "", bearer)


def starters_in(coroutine: Any) -> tuple[Starter, ...]:
    """The user's functions that are suspended in a coroutine, the innermost first.

    Each has started what it waits for. Those of generators whose ``with`` block it is in count too.
    """
    found: list[Starter] = []
    for link in suspended_chain(coroutine):
        for frame in map(_frame_of, (link, *entered_generators(link))):
            if frame is not None and not is_library(frame.f_code.co_filename):
                found.append(_starter(frame))
    return tuple(found[: -_MAX_STARTERS - 1 : -1])


def _frame_of(link: Any) -> FrameType | None:
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        frame = getattr(link, name, None) if type(link) in _SUSPENDED else None
        if frame is not None:
            return cast(FrameType, frame)
    return None


_SUSPENDED = (CoroutineType, GeneratorType, AsyncGeneratorType)
