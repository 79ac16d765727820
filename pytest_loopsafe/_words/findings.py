"""What was seen, as plain data."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pytest_loopsafe._words.errors import ErrorKey
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack
from pytest_loopsafe._words.ways import Fate, Way

MOST_LOOPS = 50
"""So many loops are remembered of those in which a hazard was seen."""

_ENTRY = re.compile(r"\[|\.<(?:key|element) ")


def without_entry(path: str) -> str:
    """A path up to the first container on it: indexes, keys and elements differ between loops."""
    return _ENTRY.split(path, maxsplit=1)[0]


def frame_data(one: Frame) -> dict[str, Any]:
    """A frame as JSON-able data, the line of its code as text."""
    return {
        "file": one.file,
        "line": one.line,
        "function": one.function,
        "code": one.code,
        "library": one.library,
    }


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
        owner_type: the qualified name of the class of what is there; None where that is not known.
        advice: what to do with an object of that library; a part of `remedy`, and empty where
            nobody knows the library.
        swallowed: the code under test hid the error: none of it left the pass.
        swallowed_at: the frame that kept the error, where that is known.
        swallowed_likely: True where `swallowed_at` was read from the bytecode, not witnessed.
        count: how often it was seen.
        passes: the numbers of the passes in which it was seen, from 1.
        loops: the numbers of the first `MOST_LOOPS` loops in which it was seen, in order.
        severity: the rule's own, or an error under ``strict``.
        origin: the process and the task, where it was seen in another process than the test's.
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
    owner_type: str | None = None
    advice: str = ""
    swallowed: bool = False
    swallowed_at: Frame | None = None
    swallowed_likely: bool = False
    count: int = 1
    passes: tuple[int, ...] = ()
    loops: tuple[int, ...] = ()
    severity: Severity = Severity.ERROR
    origin: Origin | None = None
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
    def group(self) -> str:
        """What the findings of one root have in common: where the object is held.

        Without what differs from loop to loop, keys and indexes. Where nobody holds it, the rule
        and the place.
        """
        if self.owner is not None:
            return without_entry(self.owner)
        site = self.site
        return f"{self.code} {site}" if site is not None else f"{self.code} {self.message}"

    @property
    def is_error(self) -> bool:
        """Whether it fails the test."""
        return self.severity is Severity.ERROR

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON-able data, in the shape of ``--loopsafe-json``."""
        return {
            "code": self.code,
            "slug": self.slug,
            "severity": str(self.severity),
            "message": self.message,
            "loop": self.loop.number if self.loop else None,
            "home_loop": self.home_loop.number if self.home_loop else None,
            "home_state": self.home_state,
            "loops": list(self.loops),
            "owner": self.owner,
            "owner_type": self.owner_type,
            "swallowed": self.swallowed,
            "swallowed_at": frame_data(self.swallowed_at) if self.swallowed_at else None,
            "swallowed_likely": self.swallowed_likely,
            "logged": [line.to_json() for line in self.logged],
            "count": self.count,
            "passes": list(self.passes),
            "stacks": [
                {"title": stack.title, "frames": [frame_data(one) for one in stack.frames]}
                for stack in self.stacks
            ],
            "remedy": self.remedy,
            "url": self.rule.url,
            "origin": asdict(self.origin) if self.origin else None,
            "made_by": self.home_loop.maker if self.home_loop else None,
            "used_by": self.loop.maker if self.loop else None,
            "group": self.group,
        }


class LoggedErrors(NamedTuple):
    """A line of the log, and the keys of the errors that its exception was raised from."""

    line: LogLine
    keys: frozenset[ErrorKey]


@dataclass(frozen=True)
class Observation:
    """What a detector hands in: a finding, and what is needed to judge later who hid it.

    Attributes:
        finding: the hazard as seen.
        error: the exception that asyncio raised for it; None where it raised nothing.
        way: the frames that it has to pass.
        excuse: whether what became of the error shows that the code expects it, so that it is no
            hazard. Asked when all rests; the finding is then taken back.
        about: the object that the hazard is about, to find out who holds it; first, where one is
            enough. Not kept.
        users: the objects whose methods were at it, the innermost first; None for those that run
            now. Not kept.
        identity: what makes it one and the same hazard; None: its place in the user's code.
        severity: where it is another than the rule's own.
        at_rest: tells whether it may be a hazard at all, where only that is known when all rests.
            It is told no sooner, and its excuse is asked also where the error left the pass.
        expectable: a test that says that it expects this very error tests a refusal: no hazard.
        pass_number: the pass in which it was seen, where it is told later; None for this one.
    """

    finding: Finding
    error: BaseException | None = None
    way: Way | None = None
    excuse: Callable[[Fate], bool] | None = None
    about: tuple[Any, ...] = ()
    users: tuple[Any, ...] | None = None
    identity: object = None
    severity: Severity | None = None
    at_rest: Callable[[], bool] | None = None
    expectable: bool = False
    pass_number: int | None = None

    @property
    def is_refusal(self) -> bool:
        """Whether it was refused, in a way that nothing which is known later can excuse."""
        return self.error is not None and self.excuse is None and self.at_rest is None


@dataclass(frozen=True)
class Known:
    """What is known of what is at a path.

    Attributes:
        kind: the qualified name of its class.
        advice: what to do with it, beside what a rule advises; empty where nobody knows.
    """

    kind: str | None = None
    advice: str = ""


@dataclass(frozen=True)
class Clue:
    """What is noted at the moment of a hazard, to find out at rest whose the object is.

    By then the object may be gone: a waiter, a transport that was closed. So it is also noted where
    the last look at the graph has seen it, and which objects' methods were using it.

    Attributes:
        things: the object, and what else the hazard is about.
        users: the objects whose methods were at it, the innermost first.
        seen_at: the path that led to the object at an earlier rest; None where it was not seen.
    """

    things: tuple[weakref.ref[Any], ...]
    users: tuple[weakref.ref[Any], ...] = ()
    seen_at: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to begin with."""
        return not self.things and not self.users and self.seen_at is None
