"""The lines of a spool: what each kind of record has in it, and of which type.

Whoever can write to the folder can write anything, and a line may be torn. So nothing of a line is
used before all of it has been found to be what a writer of ours writes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from pytest_loopsafe._spool import wire
from pytest_loopsafe._spool.writer import VERSION
from pytest_loopsafe._words.findings import Finding, LogLine
from pytest_loopsafe._words.loops import LoopInfo

_MAX_PID = 1 << 31
"""No process has so high a number; and 0 and less would mean many at once to ``os.kill``."""
_CODE = re.compile(r"LS[0-9]{3}")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line; `run` is the run that it belongs to."""

    run: str | None = ""


@dataclass(frozen=True, kw_only=True)
class Process(Record):
    """The first line of each file: who writes."""

    version: int
    pid: int
    parent: int
    role: str
    host: str

    def __post_init__(self) -> None:
        if self.version != VERSION or not 0 < self.pid < _MAX_PID:
            raise ValueError(f"version {self.version}, process {self.pid}")


@dataclass(frozen=True, kw_only=True)
class Began(Record):
    """A call begins."""

    number: int
    task: str
    id: str


@dataclass(frozen=True, kw_only=True)
class Ended(Record):
    """A call has ended."""

    number: int
    state: str
    error: str | None
    traceback: str | None = None


@dataclass(frozen=True, kw_only=True)
class Found(Record):
    """A finding, new or changed."""

    key: int
    finding: Finding

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.finding.code):  # one of a newer version is as good as any
            raise ValueError("no rule has such a code")


@dataclass(frozen=True, kw_only=True)
class TakenBack(Record):
    """A finding turned out to be none: the code expected what it was made for."""

    key: int


@dataclass(frozen=True, kw_only=True)
class Loops(Record):
    """Loops that were made."""

    loops: tuple[LoopInfo, ...]


@dataclass(frozen=True, kw_only=True)
class Line(Record):
    """A line of the log."""

    number: int
    line: LogLine


@dataclass(frozen=True, kw_only=True)
class Published(Record):
    """Watched code has sent a task."""

    task: str
    id: str
    eta: str | None


@dataclass(frozen=True, kw_only=True)
class Note(Record):
    """Something that could not be seen."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Lost(Record):
    """So many records could not be written; none, as long as all is well."""

    count: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunEnded(Record):
    """All is judged that the run has left in this process."""


@dataclass(frozen=True, kw_only=True)
class Exit(Record):
    """The process ends in order."""


_KINDS: dict[str, type[Record]] = {
    "process": Process,
    "began": Began,
    "ended": Ended,
    "finding": Found,
    "taken_back": TakenBack,
    "loops": Loops,
    "line": Line,
    "published": Published,
    "note": Note,
    "lost": Lost,
    "run_ended": RunEnded,
    "exit": Exit,
}


def parse(line: bytes) -> Record | None:
    """A line of a spool; None for a kind that only a newer version knows.

    Raises:
        KeyError, TypeError, ValueError, RecursionError: it is not what a writer of ours writes.
    """
    data = json.loads(line.decode())
    if not isinstance(data, dict):
        raise TypeError("a record is an object")
    kind = _KINDS.get(data["kind"])
    return wire.decode(kind, data) if kind is not None else None
