"""What is logged, on its way to whoever handles it: a record of ``logging``, an event of structlog.

Both give text without rendering anything: see `pytest_loopsafe._probes.logs`.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._words.texts import filled_in, full_type_name, plain_text, shown, type_name


@dataclass(frozen=True)
class Logged(Sighting):
    """Something was logged, as text; `error` is the exception that was logged with it."""

    logger: str
    level: str
    message: str
    error: BaseException | None
    error_text: str | None


class Record:
    """A record on its way through its logger's handlers. Whoever calls ``handle`` may give any."""

    def __init__(self, record: object) -> None:
        self._record = record
        self._fields = _fields_of(record)
        self._rendered: object = None
        # Now: a handler that hands records to another thread takes the exception off.
        self._error = _error_in(self._fields.get("exc_info"))

    def was_rendered(self, record: object, text: object) -> None:
        """Take the text that the code made of a record: this one, or a formatter's copy of it."""
        if record is not self._record:
            copied = _fields_of(record)
            if any(copied.get(one) is not self._fields.get(one) for one in ("msg", "args")):
                return
        self._rendered = text

    @property
    def logger(self) -> str:
        """The name of its logger."""
        return shown(self._fields.get("name"))

    @property
    def level(self) -> str:
        """The name of its level."""
        return shown(self._fields.get("levelname"))

    def sighting(self) -> Logged:
        """What was logged with it."""
        raw = self._fields.get("msg", self._record)
        text = self._rendered
        if text is None:
            text = filled_in(shown(raw), self._fields.get("args"))
        return Logged(
            self.logger,
            self.level,
            shown(raw if text is None else text),
            self._error,
            _error_text(self._error, self._fields.get("exc_text")),
        )


class Event:
    """One structlog event on its way through processors to whatever logger is wrapped."""

    def __init__(self, bound: Any, method: str, event: Any, given: dict[str, Any]) -> None:
        self.processed = False
        self.told = False
        self._wrapped = getattr(bound, "_logger", None)
        self._method = method
        self._event = event
        context = getattr(bound, "_context", None)
        # Of any other class that the code has configured, what it holds is its own to tell.
        is_dict = issubclass(type(context), dict)
        self._values: dict[str, Any] = dict(dict.items(context)) if is_dict else {}  # type: ignore[arg-type]
        self._values.update(given)
        # Now: inside a processor, or a handler, another exception may be the current one.
        info = self._values.pop("exc_info", method == "exception")
        self._error = _error_in(sys.exc_info() if info is True else info)

    def is_printed(self) -> bool:
        """Whether it was logged past ``logging``, whose level would have told otherwise."""
        by_logging = issubclass(type(self._wrapped), logging.Logger | logging.LoggerAdapter)
        return self.processed and not self.told and not by_logging

    def sighting(self, record: Record | None = None) -> Logged:
        """The event as something logged, under the names that ``logging`` has for it, if any."""
        if record is not None:
            logger, level = record.logger, record.level
        else:
            logger = shown(self._values.get("logger", "structlog"))
            level = _LEVELS.get(self._method, self._method.upper())
        return Logged(logger, level, self._message(), self._error, _error_text(self._error))

    def _message(self) -> str:
        values = dict(self._values)
        event = shown(self._event)
        filled = filled_in(event, values.pop("positional_args", ()))
        pairs = (f"{shown(key)}={shown(value)}" for key, value in values.items())
        return " ".join((event if filled is None else filled, *pairs))


_LEVELS = {"exception": "ERROR", "warn": "WARNING", "fatal": "CRITICAL", "msg": "INFO"}


_FIELDS: Any = vars(logging.LogRecord)["__dict__"]


def _fields_of(record: object) -> dict[str, Any]:
    """What a record holds, past any property of its class; nothing where it is no record."""
    fields: dict[str, Any] = {}
    if issubclass(type(record), logging.LogRecord):
        fields = _FIELDS.__get__(record)
    return fields


def _error_in(info: Any) -> BaseException | None:
    """The exception of an ``exc_info``: itself, or one of a tuple of three."""
    if type(info) is tuple and len(info) == 3:
        info = info[1]
    return info if issubclass(type(info), BaseException) else None


def _error_text(error: BaseException | None, traceback: object = None) -> str | None:
    """``TypeName: text`` of an exception; its own text from the traceback that the code has made.

    Without one it is known only where it is plain.
    """
    if error is None:
        return None
    text = plain_text(error)
    if text is None and type(traceback) is str:
        _, told, rest = f"\n{traceback}".rpartition(f"\n{full_type_name(error)}: ")
        text = rest if told else None
    return f"{type_name(error)}: {shown(error) if text is None else text}"
