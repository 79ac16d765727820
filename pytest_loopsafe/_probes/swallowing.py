"""Who kept an error: the frame whose handler ended it, witnessed or read from the bytecode.

From CPython 3.12 on, ``sys.monitoring`` tells of each exception that is raised, caught and raised
again. The frame that kept an error is the last that caught it and did not raise it again. An
exception raised *from* the error continues it: whoever keeps that one kept the error. The events
are switched on only once a detector has seen an error, so a clean run pays nothing.

On 3.11, or where no tool id is free (a debugger, coverage and a profiler may own them), it is read
from the frames on the error's way when all rests: certain where it is told, but not witnessed.
"""

from __future__ import annotations

import sys
import threading
from types import CodeType, FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._bytecode import Body
from pytest_loopsafe._probes import handlers
from pytest_loopsafe._words.errors import ErrorKey, KnownErrors
from pytest_loopsafe._words.stacks import is_own
from pytest_loopsafe._words.ways import Fate, Point, Way

_TOOL_NAME = "pytest-loopsafe"
_TOOL_IDS = (4, 3)
"""Ids that ``sys.monitoring`` reserves for nobody: 0, 1, 2 and 5 are debuggers', coverage tools',
profilers' and optimizers'."""

_MAX_FOLLOWED = 1000
_ENDS_ITERATION = (StopIteration, StopAsyncIteration, GeneratorExit)


class Witness:
    """Follows errors from the moment a detector saw them until somebody keeps them.

    Its hooks note where an error is, and nothing else. There is no lock that they wait for.

    Args:
        errors: recognises them.
    """

    def __init__(self, errors: KnownErrors) -> None:
        self._errors = errors
        self._switching = threading.RLock()
        self._tool: int | None = None
        self._ended = False
        self._inside: dict[ErrorKey, list[Point]] = {}
        """For each error the handlers that it has entered and not left, outermost first."""

    def forked(self) -> None:
        """The lock's holder may have been a thread that a forked child does not have."""
        self._switching = threading.RLock()

    def follow(self, error: BaseException) -> None:
        """Watch what becomes of an error from here on."""
        if len(self._inside) >= _MAX_FOLLOWED:
            return
        self._inside.setdefault(self._errors.note(error), [])
        # Whoever comes while another thread switches it on need not wait for it.
        if self._tool is None and self._switching.acquire(blocking=False):
            try:
                self._switch_on()
            finally:
                self._switching.release()

    def fate(self, key: ErrorKey, way: Way | None) -> Fate:
        """What became of an error. Only when all rests.

        Args:
            key: the error.
            way: the frames that it had to pass, to read it from where nobody saw it.
        """
        inside = [one for one in self._inside.get(key, ()) if not is_own(one.code.co_filename)]
        if inside and way is not None:
            kept = handlers.handled(inside[-1], way.kind)
            return Fate(kept.frame, True, inside[0].code, kept.narrow)
        if way is None or way.is_at_its_start():
            return Fate(open=way is not None)
        return read_fate(way)

    def stop(self, *, for_good: bool = False) -> None:
        """Give the tool id back and forget; for good, whatever another thread has still to say."""
        with self._switching:
            self._ended = for_good
            if self._tool is not None:
                monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
                monitoring.set_events(self._tool, 0)
                for event in self._callbacks(monitoring.events):
                    monitoring.register_callback(self._tool, event, None)
                monitoring.free_tool_id(self._tool)
                self._tool = None
            self._inside.clear()
        Body.forget()

    def _switch_on(self) -> None:
        monitoring = _cpython.error_monitoring()
        if monitoring is None or self._tool is not None or self._ended:
            return
        for tool in _TOOL_IDS:
            try:
                monitoring.use_tool_id(tool, _TOOL_NAME)
            except ValueError:  # somebody else's
                continue
            if self._tool is not None:  # by a signal handler, in this very moment
                monitoring.free_tool_id(tool)
                return
            self._tool = tool
            mask = 0
            for event, callback in self._callbacks(monitoring.events).items():
                monitoring.register_callback(tool, event, callback)
                mask |= event
            monitoring.set_events(tool, mask)
            return

    def _callbacks(self, events: Any) -> dict[int, Any]:
        return {
            events.RAISE: self._raised,
            events.EXCEPTION_HANDLED: self._handled,
            events.RERAISE: self._raised_again,
        }

    def _raised(self, code: CodeType, offset: int, error: BaseException) -> None:
        """An error leaves a call, or is raised: ours, or one that was raised from ours."""
        for key in self._errors.behind(error, beside=False):
            inside = self._inside.get(key)
            if inside:
                _leave(inside, code)
                if inside and not _runs(inside[0].code, sys._getframe(1)):
                    inside.clear()  # it was kept there, and is now raised anew elsewhere

    def _handled(self, code: CodeType, offset: int, error: BaseException) -> None:
        """Somebody caught an error: ours, or one that came up beside it.

        The latter takes ours along only if it has left the handler that kept ours. A ``KeyError``
        that a logger catches within itself, called by that handler, has nothing to do with it.
        """
        keys = self._errors.behind(error)
        if not keys:
            return
        here = sys._getframe(1)
        point = Point.of(here, offset)
        carried = self._errors.behind(error, beside=False)
        for key in keys:
            inside = self._inside.get(key)
            if inside is None:
                continue
            if key in carried:
                inside.append(point)
            elif type(error) not in _ENDS_ITERATION and not (
                inside and _runs(inside[-1].code, here)
            ):
                inside[:] = [point]

    def _raised_again(self, code: CodeType, offset: int, error: BaseException) -> None:
        carried = self._errors.behind(error, beside=False)
        for key in self._errors.behind(error):
            inside = self._inside.get(key)
            if inside and (key in carried or inside[-1].code is code):
                _leave(inside, code)


def read_fate(way: Way) -> Fate:
    """What will become of an error, as far as the bytecode of the frames on its way tells."""
    read = handlers.keeper(way)
    return Fate(read.frame, False, read.code, read.narrow) if read is not None else Fate()


def _leave(inside: list[Point], code: CodeType) -> None:
    """Take off the innermost handler of a frame's, and those within it."""
    for index in range(len(inside) - 1, -1, -1):
        if inside[index].code is code:
            del inside[index:]
            return


def _runs(code: CodeType, frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False
