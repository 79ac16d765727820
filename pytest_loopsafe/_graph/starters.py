"""Which of the user's functions have started something: those that run, or that wait for it."""

from __future__ import annotations

import os
import sys
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
    is_own,
    is_pytests,
    suspended_chain,
)
from pytest_loopsafe._words.ways import entered_generators
from pytest_loopsafe._words.weak import Ref, nowhere, weak

_MAX_STARTERS = 8


@dataclass(frozen=True)
class Starter:
    """One function that was running when work was started.

    Attributes:
        code: the function's.
        offset: the instruction at which it was.
        module: where it looks for globals.
        bearer: the object whose method it is.
    """

    code: CodeType
    offset: int
    module: str
    bearer: Ref


def starters(*, within: bool = False) -> tuple[Starter, ...]:
    """The user's functions that are running now in this pass, the innermost first.

    Args:
        within: only those within the running loop, and not who runs it.
    """
    found: list[Starter] = []
    frame: FrameType | None = sys._getframe(1)
    begun, task = False, _cpython.current_task() if within else None
    outermost = getattr(task.get_coro(), "cr_frame", None) if task is not None else None
    while frame is not None and len(found) < _MAX_STARTERS:
        code = frame.f_code
        if is_own(code.co_filename):
            if begun and not any(one in code.co_filename for one in _HOOKS):
                break  # who runs the pass is not in it
        elif is_pytests(code.co_filename):
            break
        else:
            begun = True
            if not is_library(code.co_filename):
                found.append(_starter(frame))
            if within and (frame is outermost or code.co_qualname == _cpython.CALLBACK_BEGINS):
                break
        frame = frame.f_back
    return tuple(found)


_HOOKS = tuple(
    os.path.join("pytest_loopsafe", *parts)
    for parts in (("_probes", ""), ("_run", "schedules.py"), ("_run", "addresses.py"))
)
"""Our frames that may lie between the user's code and asyncio's."""


def _starter(frame: FrameType) -> Starter:
    code = frame.f_code
    bearer = weak(first_argument(frame)) if is_method(code) else nowhere
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
