"""What the code under test logs: where a swallowed error is often the last thing to be seen.

Seen is ``logging.Logger.handle``, which gets every record that passes its logger's level, whatever
handlers, filters and propagation there are. Rejected: a handler on the root logger (code sets
``propagate = False``, removes root handlers, calls ``dictConfig``).

structlog prints by default and never comes past ``logging``. Seen is what its bound loggers share,
``_proxy_to_logger``, which its documentation gives to custom ones too.

Nothing is rendered here: an argument's ``__str__`` is the code's own, and runs as often as it would
without us. The text of a line is what the code's own handlers have made of the record meanwhile.
Where none did, it is the message as it was given, filled in if all of its arguments are plain.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import FunctionType
from typing import Any

from pytest_loopsafe._probes.instrumentation import Emit, Patches
from pytest_loopsafe._probes.records import Event, Logged, Record
from pytest_loopsafe._words.errors import ErrorKey
from pytest_loopsafe._words.findings import LoggedErrors, LogLine

_KEPT = 10_000

_CROSS_LOOP_TEXTS = (
    "attached to a different loop",
    "is bound to a different event loop",
    "Event loop is closed",
    "await wasn't used with future",
    "belongs to a different loop",
)


class LogProbe:
    """Sees records of ``logging``, and structlog's events once structlog is imported."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the one method that all records pass, and the two that all events pass."""
        now = _Now()

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def handle(self: Any, record: Any) -> Any:
                event = now.event
                if event is not None and (event.told or not event.processed):
                    event = None
                if event is not None:
                    # structlog renders into logging: one line, with the keys as they were given.
                    event.told = True
                outer, now.record = now.record, Record(record)
                try:
                    return original(self, record)
                finally:
                    seen, now.record = now.record, outer
                    emit(seen.sighting() if event is None else event.sighting(seen))

            return handle

        def build_message(original: Callable[..., Any]) -> Callable[..., Any]:
            def getMessage(self: Any) -> Any:  # noqa: N802 - logging's name for it
                text = original(self)
                if now.record is not None:
                    now.record.was_rendered(self, text)
                return text

            return getMessage

        def build_proxy(original: Callable[..., Any]) -> Callable[..., Any]:
            def _proxy_to_logger(
                self: Any, method_name: str, event: Any = None, **event_kw: Any
            ) -> Any:
                on_its_way = Event(self, method_name, event, event_kw)
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

        patches.replace(logging.LogRecord, "getMessage", build_message)
        patches.replace(logging.Logger, "handle", build)
        patches.when_imported("structlog._base", "BoundLoggerBase", cover_structlog)


class _Now(threading.local):
    """The structlog event that this thread is about to log, and the record that it handles.

    structlog's a-methods use threads too.
    """

    event: Event | None = None
    record: Record | None = None


def _as_structlog(function: Any) -> Callable[..., Any]:
    """The function as one of structlog's own: it skips those when it looks for the caller."""
    return FunctionType(
        function.__code__,
        {**function.__globals__, "__name__": "structlog._base"},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


class LogBook:
    """The lines of one watched stretch of code. Keeps text only: no record, argument or exception.

    Those would keep frames and loops alive, and the code under test would run in another world.

    Args:
        limit: how many lines are kept.
        written: told of each line at once, with its number, and again when it is found suspect;
            for who must not lose any.
        known: tells which of the errors that were seen an exception was raised from.
    """

    def __init__(
        self,
        limit: int = _KEPT,
        written: Callable[[int, LogLine], None] = lambda number, line: None,
        known: Callable[[BaseException], frozenset[ErrorKey]] = lambda error: frozenset(),
    ) -> None:
        # A finalizer may log while this thread holds the lock.
        self._lock = threading.RLock()
        self._limit = limit
        self._written = written
        self._known = known
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
        error = logged.error
        keys: frozenset[ErrorKey] = self._known(error) if error is not None else frozenset()
        line = LogLine(logged.logger, logged.level, logged.message, pass_number, logged.error_text)
        with self._lock:
            index = len(self._lines)
            self._unjudged.append((index, LoggedErrors(line, keys)))
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
