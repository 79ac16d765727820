"""What was seen, as plain data, and the log that folds one hazard's many sightings into one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from pytest_loopsafe.loops import LoopInfo
from pytest_loopsafe.rules import Ignore, Rule, Severity
from pytest_loopsafe.stacks import Frame, Stack


@dataclass(frozen=True)
class Origin:
    """Which process a finding comes from, where it is another than the test's.

    Attributes:
        pid: the process.
        process: what it is, ``worker child``.
        task: the name of the Celery task that ran; None where none did.
        task_id: its id.
        invocation: which of the process's calls it was, from 1; None outside of them.
    """

    pid: int
    process: str
    task: str | None = None
    task_id: str | None = None
    invocation: int | None = None

    def __str__(self) -> str:
        where = f"{self.process} {self.pid}"
        if self.task is None:
            return where
        return f"call {self.invocation} in {where}: task {self.task} (id {self.task_id})"


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
        origin: the process and the task, where it was seen in another process than the test's.
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
    origin: Origin | None = None

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
            "count": self.count,
            "passes": list(self.passes),
            "stacks": [
                {"title": stack.title, "frames": [frame(one) for one in stack.frames]}
                for stack in self.stacks
            ],
            "remedy": self.remedy,
            "url": self.rule.url,
            "origin": asdict(self.origin) if self.origin else None,
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


class _Record:
    __slots__ = ("count", "finding", "ignored", "number", "passes", "pending")

    def __init__(self, finding: Finding) -> None:
        self.number = 0
        self.finding = finding
        self.count = 0
        self.ignored = False
        self.passes: set[int] = set()
        self.pending: list[tuple[ErrorKey, Frame | None]] = []


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
        found: Callable[[int, Finding], None] = lambda number, finding: None,
    ) -> None:
        self._strict = strict
        self._ignore = tuple(ignore)
        self._locate = locate
        self._found = found
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
            record.number = record.number or len(self._records)
            record.count += 1
            record.passes.add(pass_number)
            if observation.error is not None:
                record.pending.append((ErrorKey.of(observation.error), observation.likely_handler))
        if record.count == 1 and not record.ignored:
            self._found(record.number, self._finding(record))

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
                if any(key in left for key, _ in pending):
                    continue  # one of several at the same place came out: it is no secret
                for key, likely in pending:
                    finding = record.finding
                    handler = witnessed(key)
                    if not finding.swallowed or (handler and finding.swallowed_at is None):
                        record.finding = replace(
                            finding,
                            swallowed=True,
                            swallowed_at=handler or likely,
                            swallowed_likely=handler is None and likely is not None,
                        )

    def findings(self) -> tuple[Finding, ...]:
        """All findings so far, in the order in which they were first seen."""
        return tuple(self.numbered().values())

    def numbered(self) -> dict[int, Finding]:
        """All findings so far, by a number that stays the same."""
        with self._lock:
            return {
                record.number: self._finding(record)
                for record in self._records.values()
                if not record.ignored
            }

    @staticmethod
    def _finding(record: _Record) -> Finding:
        return replace(record.finding, count=record.count, passes=tuple(sorted(record.passes)))

    def forked(self) -> None:
        """Begin anew in a forked child: what was found so far is the parent's to report."""
        self._lock = threading.Lock()
        self._records = {}
