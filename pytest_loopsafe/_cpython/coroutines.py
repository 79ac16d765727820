"""Coroutines: whether one has begun, and which one ends without that.

The collector of a coroutine that never began, and that nobody closed, calls a function of
``warnings`` by its name (``_PyErr_WarnUnawaitedCoroutine`` in ``Python/_warnings.c``), whatever the
filters say: it is what warns that the coroutine was never awaited. A coroutine that ran, or that
was closed, ends without it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import CodeType, CoroutineType, FunctionType
from typing import Any

from pytest_loopsafe._cpython.topic import Topic

UNAWAITED = (warnings, "_warn_unawaited_coroutine")
"""What is called with a coroutine that ends before it has begun."""

_HIDDEN = "<frozen importlib._bootstrap>"
"""``warnings`` passes over frames of this file when it looks for the line that it is to name."""


def has_begun(coroutine: CoroutineType[Any, Any, Any]) -> bool:
    """Whether a coroutine has run, or was closed before it could."""
    begun = coroutine.cr_running or coroutine.cr_suspended or coroutine.cr_frame is None
    return bool(begun)


def unseen_by_warnings(function: Any) -> Any:
    """A function whose frame does not count when a warning's place is looked for.

    What is put in the place of `UNAWAITED` is called by whatever let the coroutine go, and the
    warning that the original then gives has to name that line as before.
    """
    assert type(function) is FunctionType
    function.__code__ = function.__code__.replace(co_filename=_HIDDEN)
    return function


def _sees_unawaited() -> bool:
    seen: list[CodeType] = []
    owner, name = UNAWAITED
    original: Callable[[Any], None] = getattr(owner, name)

    async def never() -> None:
        return

    @unseen_by_warnings
    def note(coroutine: Any) -> None:
        if coroutine.cr_code is never.__code__:
            seen.append(coroutine.cr_code)
        else:  # another thread's, in this very moment
            original(coroutine)

    setattr(owner, name, note)
    try:
        never()  # type: ignore[unused-coroutine]
        coroutine: Any = never()
        is_new = not has_begun(coroutine)
        coroutine.close()
        return is_new and has_begun(coroutine) and seen == [never.__code__]
    finally:
        setattr(owner, name, original)


TOPICS = (Topic("which coroutines never ran", ("LS109", "LS307"), _sees_unawaited),)
