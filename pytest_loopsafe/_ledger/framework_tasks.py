"""The tasks by which a test framework runs tests.

Whoever runs the loop for pytest has made such a task for itself, with nobody's code in between:
anyio's plugin has one for each of its loops. Nobody who writes a test can end it, and what it does
beyond one run is what it is for.
"""

from __future__ import annotations

import sys
import weakref
from types import CoroutineType, FrameType
from typing import Any

from pytest_loopsafe._words.whose import TERRITORY, Whose

_HOOKS = ("pytest_fixture_setup", "pytest_pyfunc_call")
_OUTSIDE = frozenset({Whose.ASYNCIO, Whose.OURS, Whose.HOOK, Whose.LAUNCHER})


class FrameworkTasks:
    """Tells them from others by their coroutines, noted as they start."""

    def __init__(self) -> None:
        self._coroutines: weakref.WeakSet[Any] = weakref.WeakSet()

    def started(self, coroutine: Any) -> None:
        """A task is being made of this coroutine."""
        if _runs_tests():
            self._coroutines.add(coroutine)

    def __contains__(self, coroutine: object) -> bool:
        """Whether a task of this coroutine is one of them."""
        is_plain = type(coroutine) is CoroutineType  # else its __hash__ is somebody's
        return is_plain and coroutine in self._coroutines


def _runs_tests() -> bool:
    """Whether the task that is being made is one by which a test framework runs tests.

    So it is where pytest's own frames are reached without any of the user's, and where all code
    within the loop is of files that are also outside of it, with whoever runs the loop for pytest.
    What another library starts by itself, from a callback, is not. The framework's own frames may
    be the user's, who develops it: the module that pytest calls has a hook that runs tests.
    """
    inside: set[str] = set()
    outside: set[str] = set()
    users: FrameType | None = None  # the outermost
    is_outside = False
    whose = TERRITORY.view.whose
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        who = whose[file]
        if who is Whose.PYTEST:
            return bool(inside) and inside <= outside and (users is None or _has_hook(users))
        if who in _OUTSIDE:
            is_outside = is_outside or bool(inside)  # the loop itself is passed
        else:
            (outside if is_outside else inside).add(file)
            if who is Whose.USER:
                users = frame
        frame = frame.f_back
    return False


def _has_hook(frame: FrameType) -> bool:
    return any(dict.__contains__(frame.f_globals, name) for name in _HOOKS)
