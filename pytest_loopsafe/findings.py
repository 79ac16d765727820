"""What was seen, as plain data, and the log that folds one hazard's many sightings into one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pytest_loopsafe.loops import LoopInfo
from pytest_loopsafe.rules import Ignore, Rule, Severity
from pytest_loopsafe.stacks import Frame, Stack

_TEXT_THAT_TELLS = 15
"""So long an error's text must be to be recognised within a line of the log."""

_LINES_KEPT = 3
_TEXTS_COMPARED = 100


@dataclass(frozen=True)
class LogLine:
    """One line that the code under test logged, as text.

    Attributes:
        logger: the logger's name; ``structlog`` for structlog's loggers, which have none.
        level: ``ERROR``, ``WARNING``, as the log has it.
        message: the formatted message; of structlog, ``event key=value key=value``.
        pass_number: the pass in which it was logged, from 1.
        error: ``TypeName: text`` of the exception that was logged with it; None where none was.
        suspect: it has the text of a cross-loop error and belongs to no finding.
    """

    logger: str
    level: str
    message: str
    pass_number: int
    error: str | None = None
    suspect: bool = False

    def to_json(self) -> dict[str, Any]:
        """The line as JSON-able data."""
        return {
            "logger": self.logger,
            "level": self.level,
            "message": self.message,
            "pass": self.pass_number,
            "error": self.error,
        }


@dataclass(frozen=True)
class Finding:
    """One hazard, seen once or many times.

    Attributes:
        rule: what it is an instance of.
        message: one sentence: what happened, in which loop, with whose object.
        loop: the loop in which it happened; None in sync code, outside any loop.
        home_loop: the loop that the object belongs to; None where there is none.
        home_state: ``closed``, ``paused``, ``running`` or ``gone``, at that moment.
        stacks: titled stacks; the first is where it happened.
        remedy: what to do.
        owner: how a global reaches the object, as Python to type; None where not looked for.
        swallowed: the code under test hid the error: none of it left the pass.
        swallowed_at: the frame that kept the error, where that is known.
        swallowed_likely: True where `swallowed_at` was read from the source, not witnessed.
        count: how often it was seen.
        passes: the numbers of the passes in which it was seen, from 1.
        severity: the rule's own, or an error under ``strict``.
        logged: lines that the code logged of the error, at most three, each message once.
    """

    rule: Rule
    message: str
    loop: LoopInfo | None
    home_loop: LoopInfo | None
    stacks: tuple[Stack, ...]
    remedy: str
    home_state: str | None = None
    owner: str | None = None
    swallowed: bool = False
    swallowed_at: Frame | None = None
    swallowed_likely: bool = False
    count: int = 1
    passes: tuple[int, ...] = ()
    severity: Severity = Severity.ERROR
    logged: tuple[LogLine, ...] = ()

    @property
    def code(self) -> str:
        """The rule's code, ``LS101``."""
        return self.rule.code

    @property
    def slug(self) -> str:
        """The rule's slug, ``cross-loop-await``."""
        return self.rule.slug

    @property
    def site(self) -> Frame | None:
        """Where it happened: the innermost frame of the user's own code."""
        return self.stacks[0].site if self.stacks else None

    @property
    def is_error(self) -> bool:
        """Whether it fails the test."""
        return self.severity is Severity.ERROR

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON-able data, in the shape of ``--loopsafe-json``."""

        def frame(one: Frame) -> dict[str, Any]:
            return {
                "file": one.file,
                "line": one.line,
                "function": one.function,
                "code": one.code,
                "library": one.library,
            }

        return {
            "code": self.code,
            "slug": self.slug,
            "severity": str(self.severity),
            "message": self.message,
            "loop": self.loop.number if self.loop else None,
            "home_loop": self.home_loop.number if self.home_loop else None,
            "home_state": self.home_state,
            "owner": self.owner,
            "swallowed": self.swallowed,
            "swallowed_at": frame(self.swallowed_at) if self.swallowed_at else None,
            "swallowed_likely": self.swallowed_likely,
            "logged": [line.to_json() for line in self.logged],
            "count": self.count,
            "passes": list(self.passes),
            "stacks": [
                {"title": stack.title, "frames": [frame(one) for one in stack.frames]}
                for stack in self.stacks
            ],
            "remedy": self.remedy,
            "url": self.rule.url,
        }


@dataclass(frozen=True)
class ErrorKey:
    """An exception, recognised later without being kept.

    Keeping it would keep its traceback, hence frames, clients and loops: the code under test
    would then run in another world than in production. The address alone could be handed to
    another exception, so type and text must agree as well.
    """

    address: int
    kind: type[BaseException]
    text: str

    @classmethod
    def of(cls, error: BaseException) -> ErrorKey:
        """The key of an exception that exists now."""
        return cls(id(error), type(error), str(error)[:200])


class LoggedErrors(NamedTuple):
    """A line of the log, and the keys of the exception logged with it and of all behind that."""

    line: LogLine
    keys: frozenset[ErrorKey]


@dataclass(frozen=True)
class Observation:
    """What a detector hands in: a finding, and what is needed to judge later who hid it.

    Attributes:
        finding: the hazard as seen.
        error: the exception that asyncio raised for it; None where it raised nothing.
        likely_handler: the ``except`` around the place, read from the source.
        about: the object that the hazard is about, to find out who holds it; first, where one is
            enough. Not kept.
        identity: what makes it one and the same hazard; None: its place in the user's code.
        severity: where it is another than the rule's own.
    """

    finding: Finding
    error: BaseException | None = None
    likely_handler: Frame | None = None
    about: tuple[Any, ...] = ()
    identity: object = None
    severity: Severity | None = None


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it was raised from, groups' members included."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        pending += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions


class _Error(NamedTuple):
    key: ErrorKey
    likely: Frame | None
    text: str

    def is_told_by(self, line: LogLine) -> bool:
        """Whether a line has all of the error's text in it."""
        return len(self.text) >= _TEXT_THAT_TELLS and (
            self.text in line.message or (line.error is not None and self.text in line.error)
        )


class _Record:
    __slots__ = ("count", "finding", "ignored", "passes", "pending", "settled")

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        self.count = 0
        self.ignored = False
        self.passes: set[int] = set()
        self.pending: list[_Error] = []
        self.settled: list[_Error] = []


class FindingLog:
    """Folds observations into findings: one hazard is one finding with a count.

    Two observations are the same hazard when rule and place agree: the same line of the user's
    code, in whichever loop. Safe to use from any thread.
    """

    def __init__(
        self,
        *,
        strict: bool = False,
        ignore: Iterable[Ignore] = (),
        locate: Callable[[tuple[Any, ...]], str | None] = lambda things: None,
    ) -> None:
        self._strict = strict
        self._ignore = tuple(ignore)
        self._locate = locate
        self._lock = threading.Lock()
        self._records: dict[object, _Record] = {}
        self.ignored = 0

    def add(self, observation: Observation, pass_number: int) -> None:
        """Take in one observation made in a pass."""
        finding = observation.finding
        site = finding.site
        place = (site.file, site.line) if site else finding.message
        key = (finding.code, observation.identity or place)
        with self._lock:
            record = self._records.get(key)
        if record is None:
            # Who holds the object is asked once for each hazard: a search costs milliseconds.
            owner = finding.owner or self._locate(observation.about)
            severity = observation.severity or finding.rule.severity
            severity = Severity.ERROR if self._strict else severity
            record = _Record(replace(finding, severity=severity, owner=owner))
        if any(entry.matches(finding.code, record.finding.owner) for entry in self._ignore):
            self.ignored += 1
            record.ignored = True
        with self._lock:
            record = self._records.setdefault(key, record)
            record.count += 1
            record.passes.add(pass_number)
            if observation.error is not None:
                error = observation.error
                record.pending.append(
                    _Error(ErrorKey.of(error), observation.likely_handler, str(error))
                )

    def settle(
        self,
        errors: Iterable[BaseException],
        witnessed: Callable[[ErrorKey], Frame | None] = lambda key: None,
    ) -> None:
        """Judge at the end of a pass which errors left it; the others were swallowed.

        Args:
            errors: the exceptions that left the pass.
            witnessed: tells which frame kept an error, where somebody saw it.
        """
        left = {ErrorKey.of(link) for error in errors for link in error_chain(error)}
        with self._lock:
            for record in self._records.values():
                pending, record.pending = record.pending, []
                record.settled = pending
                if any(error.key in left for error in pending):
                    continue  # one of several at the same place came out: it is no secret
                for key, likely, _ in pending:
                    finding = record.finding
                    handler = witnessed(key)
                    if not finding.swallowed or (handler and finding.swallowed_at is None):
                        record.finding = replace(
                            finding,
                            swallowed=True,
                            swallowed_at=handler or likely,
                            swallowed_likely=handler is None and likely is not None,
                        )

    def attach(self, logged: Sequence[LoggedErrors]) -> set[LogLine]:
        """Give the errors seen since the last pass was begun the lines that tell of them.

        Returns:
            The lines that belong to a finding.
        """
        known: set[LogLine] = set()
        with self._lock:
            for record in self._records.values():
                errors, record.settled = record.settled + record.pending, []
                keys = {error.key for error in errors}
                for one in logged if errors else ():
                    if keys.isdisjoint(one.keys) and not any(
                        error.is_told_by(one.line) for error in errors[:_TEXTS_COMPARED]
                    ):
                        continue
                    known.add(one.line)
                    kept = record.finding.logged
                    if len(kept) < _LINES_KEPT and one.line.message not in (
                        line.message for line in kept
                    ):
                        record.finding = replace(record.finding, logged=(*kept, one.line))
        return known

    def findings(self) -> tuple[Finding, ...]:
        """All findings so far, in the order in which they were first seen."""
        with self._lock:
            return tuple(
                replace(record.finding, count=record.count, passes=tuple(sorted(record.passes)))
                for record in self._records.values()
                if not record.ignored
            )
