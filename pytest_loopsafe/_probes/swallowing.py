"""Who kept an error: the frame whose ``except`` ended it, witnessed or read from the source.

From CPython 3.12 on, ``sys.monitoring`` tells of each exception that is raised, caught and raised
again. The frame that kept an error is the last that caught it and did not raise it again. An
exception raised *from* the error continues it: whoever keeps that one kept the error. The events
are switched on only once a detector has seen an error, so a clean run pays nothing.

On 3.11, or where no tool id is free (a debugger, coverage and a profiler may own them), the
innermost ``except`` around the place is read from the source: likely, not certain.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import functools
import linecache
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from pytest_loopsafe._words.findings import ErrorKey
from pytest_loopsafe._words.stacks import Frame, handler_frame

_TOOL_NAME = "pytest-loopsafe"
_TOOL_IDS = (4, 3)
"""Ids that ``sys.monitoring`` reserves for nobody: 0, 1, 2 and 5 are debuggers', coverage tools',
profilers' and optimizers'."""

_MAX_FOLLOWED = 1000
_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep


class Witness:
    """Follows errors from the moment a detector saw them until somebody keeps them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tool: int | None = None
        self._kept: dict[ErrorKey, tuple[Frame, CodeType] | None] = {}
        self._carried: dict[ErrorKey, set[ErrorKey]] = {}
        self._beside: dict[ErrorKey, set[ErrorKey]] = {}

    def forked(self) -> None:
        """The lock's holder may have been a thread that a forked child does not have."""
        self._lock = threading.Lock()

    def follow(self, error: BaseException) -> None:
        """Watch what becomes of an error from here on."""
        with self._lock:
            if len(self._kept) >= _MAX_FOLLOWED:
                return
            key = ErrorKey.of(error)
            self._kept.setdefault(key, None)
            self._carried.setdefault(key, set()).add(key)
            if self._tool is None:
                self._switch_on()

    def keeper(self, key: ErrorKey) -> Frame | None:
        """The frame that kept the error, or None where none did or nobody saw."""
        kept = self._kept.get(key)
        return kept[0] if kept is not None else None

    def stop(self) -> None:
        """Give the tool id back and forget."""
        with self._lock:
            if self._tool is not None:
                monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
                monitoring.set_events(self._tool, 0)
                for event in self._callbacks(monitoring.events):
                    monitoring.register_callback(self._tool, event, None)
                monitoring.free_tool_id(self._tool)
                self._tool = None
            self._kept.clear()
            self._carried.clear()
            self._beside.clear()

    def _switch_on(self) -> None:
        monitoring: Any = getattr(sys, "monitoring", None)
        if monitoring is None:
            return
        for tool in _TOOL_IDS:
            try:
                monitoring.use_tool_id(tool, _TOOL_NAME)
            except ValueError:  # somebody else's
                continue
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
        """An error raised *from* ours carries it on; one raised while ours is handled may."""
        for cause, known in ((error.__cause__, self._carried), (error.__context__, self._beside)):
            if cause is None:
                continue
            of_cause = ErrorKey.of(cause)
            errors = self._carried.get(of_cause, set()) | self._beside.get(of_cause, set())
            if errors:
                known.setdefault(ErrorKey.of(error), set()).update(errors)
                if known is self._carried:
                    self._keep(errors, None)

    def _handled(self, code: CodeType, offset: int, error: BaseException) -> None:
        """Somebody caught an error: ours, or one that came up beside it.

        The latter takes ours along only if it has left the handler that kept ours. A ``KeyError``
        that a logger catches within itself, called by that handler, has nothing to do with it.
        """
        key = ErrorKey.of(error)
        kept = (handler_frame(code, offset), code)
        self._keep(self._carried.get(key, ()), kept)
        beside = self._beside.get(key, set()) - self._carried.get(key, set())
        if beside:
            running = set(_running_code())
            self._keep((one for one in beside if _left(self._kept.get(one), running)), kept)

    def _raised_again(self, code: CodeType, offset: int, error: BaseException) -> None:
        key = ErrorKey.of(error)
        self._keep(self._carried.get(key, ()), None)
        for one in self._beside.get(key, ()):
            kept = self._kept.get(one)
            if kept is not None and kept[1] is code:
                self._kept[one] = None

    def _keep(self, errors: Iterable[ErrorKey], kept: tuple[Frame, CodeType] | None) -> None:
        for key in errors:
            self._kept[key] = kept


def _running_code() -> Iterator[CodeType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def _left(kept: tuple[Frame, CodeType] | None, running: set[CodeType]) -> bool:
    return kept is None or kept[1] not in running


def likely_handler(
    frames: Sequence[FrameType], kind: type[BaseException] = RuntimeError
) -> Frame | None:
    """The innermost ``except`` or ``suppress`` around suspended frames that keeps such an error.

    Args:
        frames: live frames, outermost first.
        kind: the error's type.
    """
    for frame in reversed(frames):
        if frame.f_code.co_filename.startswith(_ASYNCIO):
            continue  # asyncio catches everything, to hand it on to whoever waits
        for line, names, keeps in _handlers_around(frame):
            if keeps and _catches(names, frame, kind):
                code = frame.f_code
                return Frame(code.co_filename, line, code.co_qualname, code.co_firstlineno)
    return None


def anticipates(frame: FrameType, kind: type[BaseException]) -> bool:
    """Whether a frame's own code is prepared for just this kind of error at its current line.

    ``except RuntimeError`` around a single call is a decision; ``except Exception`` is a net.
    """
    return any(kind in _resolve(names, frame) for _, names, _ in _handlers_around(frame))


@dataclass(frozen=True)
class _Guard:
    """A ``try`` or ``with suppress`` of a source file.

    `handlers` has, for each ``except``: its line, the names it catches (None for a bare one), and
    whether it keeps the error, which is to say that nothing in it raises.
    """

    line: int
    first: int
    last: int
    handlers: tuple[tuple[int, tuple[str, ...] | None, bool], ...]


def _handlers_around(frame: FrameType) -> Iterator[tuple[int, tuple[str, ...] | None, bool]]:
    """The handlers around a frame's current line, innermost first."""
    line, start = frame.f_lineno, frame.f_code.co_firstlineno
    for guard in _guards(frame.f_code.co_filename):
        if start <= guard.line and guard.first <= line <= guard.last:
            yield from guard.handlers


@functools.lru_cache(maxsize=256)
def _guards(file: str) -> tuple[_Guard, ...]:
    """A file's guards, the innermost of any two nested ones first.

    The syntax tree itself is let go: it is large, and the collector would walk it in every
    collection of the code under test.
    """
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return ()
    guards = [
        _Guard(node.lineno, node.body[0].lineno, node.body[-1].end_lineno or 0, handlers)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try | ast.With | ast.AsyncWith) and (handlers := _handlers(node))
    ]
    return tuple(sorted(guards, key=lambda guard: guard.line, reverse=True))


def _handlers(
    node: ast.Try | ast.With | ast.AsyncWith,
) -> tuple[tuple[int, tuple[str, ...] | None, bool], ...]:
    if isinstance(node, ast.Try):
        return tuple(
            (handler.lineno, _names(handler.type), not _raises(handler.body))
            for handler in node.handlers
        )
    return tuple(
        (node.lineno, tuple(_dotted(argument) for argument in call.args), True)
        for item in node.items
        if isinstance(call := item.context_expr, ast.Call)
        and _dotted(call.func).endswith("suppress")
    )


def _dotted(node: ast.expr | None) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _names(node: ast.expr | None) -> tuple[str, ...] | None:
    if node is None:
        return None  # a bare except
    if isinstance(node, ast.Tuple):
        return tuple(_dotted(element) for element in node.elts)
    return (_dotted(node),)


def _raises(body: list[ast.stmt]) -> bool:
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Raise):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            pending.extend(ast.iter_child_nodes(node))
    return False


def _resolve(names: tuple[str, ...] | None, frame: FrameType) -> list[type[BaseException]]:
    found: list[type[BaseException]] = []
    for name in names or ():
        head, *rest = name.split(".")
        value: Any = frame.f_locals.get(head) or frame.f_globals.get(
            head, getattr(builtins, head, None)
        )
        for attribute in rest:
            value = getattr(value, attribute, None)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, type) and issubclass(one, BaseException):
                found.append(one)
    return found


def _catches(names: tuple[str, ...] | None, frame: FrameType, kind: type[BaseException]) -> bool:
    return names is None or any(issubclass(kind, one) for one in _resolve(names, frame))
