"""What the code under test logs: where a swallowed error is often the last thing to be seen.

Seen is ``logging.Logger.handle``, which gets every record that passes its logger's level, whatever
handlers, filters and propagation there are. Rejected: a handler on the root logger (code sets
``propagate = False``, removes root handlers, calls ``dictConfig``).

structlog prints by default and never comes past ``logging``. Seen is what its bound loggers share,
``_proxy_to_logger``, which its documentation gives to custom ones too.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._words.findings import ErrorKey, LoggedErrors, LogLine, error_chain

_KEPT = 10_000

_CROSS_LOOP_TEXTS = (
    "attached to a different loop",
    "is bound to a different event loop",
    "Event loop is closed",
    "await wasn't used with future",
    "belongs to a different loop",
)


@dataclass(frozen=True)
class Logged(Sighting):
    """Something was logged.

    `message` is called by who judges, deaf to what the ``__str__`` of an argument may do; `raw` is
    what to show where it raises.
    """

    logger: object
    level: object
    message: Callable[[], object]
    raw: object
    error: BaseException | None


class LogProbe:
    """Sees records of ``logging``, and structlog's events once structlog is imported."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the one method that all records pass, and the two that all events pass."""
        now = _Now()

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def handle(self: Any, record: Any) -> Any:
                event = now.event
                if event is not None and event.processed and not event.told:
                    # structlog renders into logging: one line, with the keys as they were given.
                    event.told = True
                    emit(event.sighting(record.name, record.levelname))
                else:
                    emit(_sighting(record))
                return original(self, record)

            return handle

        def build_proxy(original: Callable[..., Any]) -> Callable[..., Any]:
            def _proxy_to_logger(
                self: Any, method_name: str, event: Any = None, **event_kw: Any
            ) -> Any:
                on_its_way = _Event(self, method_name, event, event_kw)
                outer, now.event = now.event, on_its_way
                try:
                    return original(self, method_name, event, **event_kw)
                finally:
                    now.event = outer
                    if on_its_way.is_printed():
                        emit(on_its_way.sighting())

            return _as_structlog(_proxy_to_logger)

        def build_process(original: Callable[..., Any]) -> Callable[..., Any]:
            def _process_event(self: Any, *args: Any, **kwargs: Any) -> Any:
                result = original(self, *args, **kwargs)
                if now.event is not None:
                    now.event.processed = True  # no processor has dropped it
                return result

            return _as_structlog(_process_event)

        def cover_structlog(base: Any) -> None:
            patches.replace(base, "_process_event", build_process)
            patches.replace(base, "_proxy_to_logger", build_proxy)

        patches.replace(logging.Logger, "handle", build)
        patches.when_imported("structlog._base", "BoundLoggerBase", cover_structlog)


class _Now(threading.local):
    """The structlog event that this thread is about to log; its a-methods use threads too."""

    event: _Event | None = None


class _Event:
    """One structlog event on its way through processors to whatever logger is wrapped."""

    def __init__(self, bound: Any, method: str, event: Any, given: dict[str, Any]) -> None:
        self.processed = False
        self.told = False
        self._wrapped = getattr(bound, "_logger", None)
        self._method = method
        self._event = event
        self._values: dict[str, Any] = {}
        with suppress(Exception):  # whatever dict the code under test has configured
            self._values.update(bound._context)
        self._values.update(given)
        # Now: inside a processor, or a handler, another exception may be the current one.
        info = self._values.pop("exc_info", method == "exception")
        self._error = _error_in(sys.exc_info() if info is True else info)

    def is_printed(self) -> bool:
        """Whether it was logged past ``logging``, whose level would have told otherwise."""
        by_logging = isinstance(self._wrapped, logging.Logger | logging.LoggerAdapter)
        return self.processed and not self.told and not by_logging

    def sighting(self, logger: object = None, level: object = None) -> Logged:
        """The event as something logged, under the names that ``logging`` has for it, if any."""
        return Logged(
            self._values.get("logger", "structlog") if logger is None else logger,
            _LEVELS.get(self._method, self._method.upper()) if level is None else level,
            self._message,
            self._event,
            self._error,
        )

    def _message(self) -> str:
        values = dict(self._values)
        positional = values.pop("positional_args", ())
        event = self._event % positional if positional else self._event
        pairs = (f"{key}={_text(value)}" for key, value in values.items())
        return " ".join((_text(event), *pairs))


_LEVELS = {"exception": "ERROR", "warn": "WARNING", "fatal": "CRITICAL", "msg": "INFO"}


def _as_structlog(function: Any) -> Callable[..., Any]:
    """The function as one of structlog's own: it skips those when it looks for the caller."""
    return FunctionType(
        function.__code__,
        {**function.__globals__, "__name__": "structlog._base"},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def _sighting(record: Any) -> Logged:
    """A record as something logged. Whoever calls ``handle`` may give it anything."""
    raw = getattr(record, "msg", record)
    return Logged(
        getattr(record, "name", None),
        getattr(record, "levelname", None),
        getattr(record, "getMessage", lambda: raw),
        raw,
        _error_in(getattr(record, "exc_info", None)),
    )


def _error_in(info: Any) -> BaseException | None:
    """The exception of an ``exc_info``: itself, or one of a tuple of three."""
    if isinstance(info, tuple) and len(info) == 3:
        info = info[1]
    return info if isinstance(info, BaseException) else None


def _text(thing: object) -> str:
    """Plain text, whatever a ``__str__`` does; no subclass of str, which may refer to anything."""
    try:
        return str.__str__(str(thing))
    except Exception:  # noqa: BLE001 - anybody's code
        return f"<{type(thing).__name__}>"


class LogBook:
    """The lines of one watched stretch of code. Keeps text only: no record, argument or exception.

    Those would keep frames and loops alive, and the code under test would run in another world.

    Args:
        limit: how many lines are kept.
        written: told of each line at once, with its number, and again when it is found suspect;
            for who must not lose any.
    """

    def __init__(
        self,
        limit: int = _KEPT,
        written: Callable[[int, LogLine], None] = lambda number, line: None,
    ) -> None:
        # A finalizer may log while this thread holds the lock.
        self._lock = threading.RLock()
        self._limit = limit
        self._written = written
        self._given_away = 0
        self._lines: list[LogLine] = []
        self._unjudged: list[tuple[int, LoggedErrors]] = []
        self.lost = 0
        """How many lines were not kept."""

    def take(self, logged: Logged, pass_number: int) -> None:
        """Write down one line."""
        with self._lock:
            if len(self._lines) >= self._limit:
                self.lost += 1
                return
        try:
            message = _text(logged.message())
        except Exception:  # noqa: BLE001 - logging prints such errors and goes on
            message = _text(logged.raw)
        error, keys = None, set()
        if logged.error is not None:
            error = f"{type(logged.error).__name__}: {_text(logged.error)}"
            for link in error_chain(logged.error):
                with suppress(Exception):  # its text cannot be had, so it cannot be recognised
                    keys.add(ErrorKey.of(link))
        line = LogLine(_text(logged.logger), _text(logged.level), message, pass_number, error)
        with self._lock:
            index = len(self._lines)
            self._unjudged.append((index, LoggedErrors(line, frozenset(keys))))
            self._lines.append(line)
        self._written(self._given_away + index, line)

    def put(self, line: LogLine) -> None:
        """Add a line that was judged elsewhere."""
        with self._lock:
            if len(self._lines) < self._limit:
                self._lines.append(line)
            else:
                self.lost += 1

    def let_go(self) -> None:
        """Forget all lines that are judged; a process that serves for days has no room for them."""
        with self._lock:
            if not self._unjudged:
                self._given_away += len(self._lines)
                self._lines = []

    def judge(self, evidence: Callable[[Sequence[LoggedErrors]], Iterable[LogLine]]) -> None:
        """At the end of a pass, mark the lines that tell of a loop and belong to no finding.

        Args:
            evidence: tells which of the lines are some finding's.
        """
        with self._lock:
            unjudged, self._unjudged = self._unjudged, []
        known = set(evidence([one for _, one in unjudged]))
        for index, (line, _) in unjudged:
            text = f"{line.message}\n{line.error}"
            if line not in known and any(one in text for one in _CROSS_LOOP_TEXTS):
                self._lines[index] = replace(line, suspect=True)
                self._written(self._given_away + index, self._lines[index])

    def lines(self) -> tuple[LogLine, ...]:
        """All lines so far, in order."""
        with self._lock:
            return tuple(self._lines)

    def notes(self) -> tuple[str, ...]:
        """What was not kept."""
        if not self.lost:
            return ()
        return (f"{self.lost} more log line{'s were' if self.lost > 1 else ' was'} not kept",)

    def search(self, wanted: str | re.Pattern[str]) -> list[LogLine]:
        """The lines whose message or error has this text in it.

        Raises:
            TypeError: `wanted` is neither text nor a compiled pattern for text.
            ValueError: `wanted` is empty.
        """
        if isinstance(wanted, re.Pattern) and isinstance(wanted.pattern, str):
            found: Callable[[str], object] = wanted.search
        elif not isinstance(wanted, str):
            raise TypeError(
                f"{wanted!r} cannot be looked for in the log: give a str, or a str pattern "
                "compiled with re.compile()"
            )
        elif not wanted:
            raise ValueError("the text to look for in the log is empty: every line has that")
        else:
            part = wanted

            def found(text: str) -> object:
                return part in text

        return [
            line
            for line in self.lines()
            if found(line.message) or (line.error is not None and found(line.error))
        ]
