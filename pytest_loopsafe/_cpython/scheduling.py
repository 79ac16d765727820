"""What asyncio's own ``call_soon`` does, so that a hook on it can do the same at half the cost.

A hook that calls the original adds two calls to each step of each task. In the usual case (an open
loop that runs in this thread, without debug mode) the original makes a Handle and appends it to
``_ready`` (``BaseEventLoop._call_soon``), and the hook may as well do so itself. Whether that is
all is checked on the very interpreter: by the names that the original's code knows, and by what
comes out. Where it does more, it is asked each time, which costs time and blinds nobody.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import operator
import threading
from asyncio import base_events, events
from collections.abc import Callable
from typing import Any

from pytest_loopsafe._cpython.loops import BaseEventLoop

runs_plainly: Callable[[Any], tuple[int | None, bool]] = operator.attrgetter("_thread_id", "_debug")
"""Which thread runs one of asyncio's own loops, and whether in debug mode, at the price of C."""

_HOOKS = ("call_soon", "_call_soon", "_check_closed", "get_debug")
_CALLS = (
    "_check_closed",
    "_debug",
    "_check_thread",
    "_check_callback",
    "_call_soon",
    "_source_traceback",
)
_MAKES = ("events", "Handle", "_source_traceback", "_ready", "append")


def quick_call_soon(
    original: Any,
    step: tuple[type, int],
    steps: dict[int, Any],
    step_ends: Callable[[Any], None],
    otherwise: Callable[..., Any],
) -> Callable[..., Any]:
    """A hook on ``call_soon`` that does the original's work in the usual case.

    A task's normal step then costs a few comparisons (`make bench` prints the ratio).

    Args:
        original: what is hooked.
        step: what `step_type` says of a C task's step.
        steps: where it is empty, nobody wants to see the end of a step.
        step_ends: called with what is scheduled, if somebody does.
        otherwise: the hook for all other cases: an error is scheduled, from elsewhere, and so on.
    """
    plain = _plain_loops(original)
    if not plain:
        return otherwise
    hook = _hook(plain, step, steps, step_ends, otherwise)
    return hook if _is_plain(original, hook) else otherwise


def _hook(
    plain: frozenset[type],
    step: tuple[type, int],
    steps: dict[int, Any],
    step_ends: Callable[[Any], None],
    otherwise: Callable[..., Any],
) -> Callable[..., Any]:
    kind, normal = step
    # Most loops are of one class, and to compare is quicker than to look up.
    usual = asyncio.SelectorEventLoop if asyncio.SelectorEventLoop in plain else None
    referents, ident, copy_context = gc.get_referents, threading.get_ident, contextvars.copy_context
    handles, new, init = events.Handle, object.__new__, events.Handle.__init__

    # A loop that runs is not closed.
    def call_soon(self: Any, callback: Any, *args: Any, context: Any = None) -> Any:
        if (
            (type(self) is usual or type(self) in plain)
            and (
                len(referents(callback)) == normal
                if type(callback) is kind
                else not args or not issubclass(type(args[0]), BaseException)
            )
            and self._thread_id == ident()
            and not self._debug
            and events.Handle is handles
            and handles.__init__ is init
        ):
            if steps:
                step_ends(callback)
            # What __init__ does without debug mode: a call less is a third of the hook's cost.
            handle: Any = new(handles)
            handle._context = copy_context() if context is None else context
            handle._loop = self
            handle._callback = callback
            handle._args = args
            handle._cancelled = False
            handle._repr = handle._source_traceback = None
            self._ready.append(handle)
            return handle
        __tracebackhide__ = True
        return otherwise(self, callback, *args, context=context)

    return call_soon


def _plain_loops(original: Any) -> frozenset[type]:
    """Those of asyncio's own loops for which that is all; none where it is not."""
    names = [
        getattr(getattr(one, "__code__", None), "co_names", None)
        for one in (original, getattr(BaseEventLoop, "_call_soon", None))
    ]
    own = getattr(original, "__globals__", None) is vars(base_events)
    if not own or names != [_CALLS, _MAKES]:
        return frozenset()
    found, pending = set(), [BaseEventLoop]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        of_asyncio = cls.__module__.partition(".")[0] == "asyncio"
        if of_asyncio and all(
            getattr(cls, name) is getattr(BaseEventLoop, name) for name in _HOOKS
        ):
            found.add(cls)
    return frozenset(found)


def _is_plain(original: Any, hook: Any) -> bool:
    """Whether what the hook makes of a call is what the original makes of it."""
    loop: Any = BaseEventLoop()
    try:
        loop.set_debug(False)
        loop._thread_id = threading.get_ident()
        context = contextvars.copy_context()
        theirs, ours = (one(loop, print, 1, context=context) for one in (original, hook))
        names = [name for name in type(theirs).__slots__ if name != "__weakref__"]
        same = all(getattr(theirs, name) == getattr(ours, name) for name in names)
        return same and type(theirs) is type(ours) and list(loop._ready) == [theirs, ours]
    except AttributeError:
        return False
    finally:
        loop._thread_id = None
        loop.close()
