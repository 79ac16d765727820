"""Reading a spool: what the processes that wrote to it were asked, did, found and logged."""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_loopsafe._spool import records
from pytest_loopsafe._spool.writer import SUFFIX, SpoolError
from pytest_loopsafe._words.findings import Finding, LogLine
from pytest_loopsafe._words.loops import LoopInfo

_TO_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_LONGEST_HEADER = 4096
"""Bytes of a line at the beginning of a file."""


@dataclass
class Invocation:
    """One call of a task, or one pass, in one process.

    Attributes:
        process: where it ran.
        run: the run that it belonged to.
        number: which of its process's calls in this run it was, from 1.
        task: the task's name.
        id: the task's id.
        state: ``RUNNING``, and then what Celery calls it: ``SUCCESS``, ``FAILURE``, ``RETRY``, ...
        error: the exception that left it, as text.
        traceback: its traceback, from the task on.
    """

    process: ProcessRecord
    run: str
    number: int
    task: str
    id: str
    state: str = "RUNNING"
    error: str | None = None
    traceback: str | None = None

    @property
    def lost(self) -> bool:
        """Whether its process died under it."""
        return self.state == "RUNNING" and not self.process.alive()


@dataclass(frozen=True)
class Publication:
    """A task that watched code has sent: in which run, its name, and when it is to run."""

    run: str
    task: str
    eta: str | None


@dataclass
class ProcessRecord:
    """What one process has left so far."""

    pid: int
    parent: int
    role: str
    host: str = ""
    findings: dict[tuple[str, int], Finding] = field(default_factory=dict)
    loops: dict[str, dict[int, LoopInfo]] = field(default_factory=dict)
    lines: dict[tuple[str, int], LogLine] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    ended_runs: set[str] = field(default_factory=set)
    lost: records.Lost | None = None
    exited: bool = False

    def __str__(self) -> str:
        return f"{self.role} {self.pid}"

    def alive(self) -> bool:
        """Whether the process still runs; True for one that cannot be asked and has not said.

        Of another machine none can be asked, and none on Windows.
        """
        if self.exited:
            return False
        if self.host != platform.node() or sys.platform == "win32":
            return True  # signal 0 is Ctrl-C on Windows, for all who share the console
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return not _is_zombie(self.pid)


class SpoolReader:
    """Reads a spool while it grows.

    Attributes:
        processes: what each process has left, in the order in which they began.
        invocations: all calls, in the order in which they were read.
        last_call: for each task's id the latest of its calls.
        published: what watched code has sent, by id.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._read: dict[Path, int] = {}
        self._by_file: dict[Path, ProcessRecord] = {}
        self.invocations: list[Invocation] = []
        self.last_call: dict[str, Invocation] = {}
        self._open_calls: dict[tuple[int, str, int], Invocation] = {}
        self.published: dict[str, Publication] = {}
        self.bad_lines = 0
        self._rest: dict[Path, int] = {}
        self._unread: dict[str, str] = {}

    @property
    def processes(self) -> tuple[ProcessRecord, ...]:
        """What each process has left so far."""
        return tuple(self._by_file.values())

    def poll(self) -> bool:
        """Read what is new; False where there was nothing.

        Raises:
            SpoolError: the folder is not there.
        """
        try:
            names = sorted(os.listdir(self._folder))
        except OSError as error:
            raise SpoolError(f"{self._folder}: cannot be read: {error.strerror}") from None
        new = False
        for name in names:
            if name.endswith(SUFFIX):
                new |= self._poll_file(self._folder / name)
        return new

    def calls(self, run: str | None = None) -> list[Invocation]:
        """The calls of one run, or of all."""
        return [one for one in self.invocations if run in (None, one.run)]

    def findings(self, run: str | None = None) -> tuple[Finding, ...]:
        """What was found in one run, or in all.

        `Finding.passes` are positions in `calls`, from 1; calls that are not there are left out.
        """
        positions = self._positions(run)
        return fold(
            replace(
                finding,
                passes=tuple(
                    position
                    for number in finding.passes
                    if (position := positions.get((id(process), of_run, number))) is not None
                ),
            )
            for process in self.processes
            for (of_run, _), finding in process.findings.items()
            if run in (None, of_run)
        )

    def lines(self, run: str | None = None) -> tuple[LogLine, ...]:
        """What was logged in one run, or in all; `LogLine.pass_number` is a position in `calls`."""
        positions = self._positions(run)
        return tuple(
            replace(
                line,
                pass_number=positions.get(
                    (id(process), of_run, line.pass_number), line.pass_number
                ),
            )
            for process in self.processes
            for (of_run, _), line in process.lines.items()
            if run in (None, of_run)
        )

    def _grows(self, path: Path) -> bool:
        """Whether somebody may still be writing to a file."""
        process = self._by_file.get(path)
        return process is not None and process.alive()

    def _positions(self, run: str | None) -> dict[tuple[int, str, int], int]:
        return {
            (id(one.process), one.run, one.number): position
            for position, one in enumerate(self.calls(run), 1)
        }

    def loops(self, run: str | None = None) -> tuple[LoopInfo, ...]:
        """The loops of one run, or of all."""
        return tuple(
            info
            for process in self.processes
            for of_run, infos in process.loops.items()
            if run in (None, of_run)
            for info in infos.values()
        )

    def notes(self, run: str | None = None) -> Iterator[str]:
        """What could not be seen, and what could not be read."""
        for process in self.processes:
            for of_run, text in process.notes:
                if run in (None, of_run):
                    yield text
        for path, process in self._by_file.items():
            self._ask_again_what_was_lost(path)
            if process.lost is not None and process.lost.count:
                yield (
                    f"{process} could not write down all that it saw ({process.lost.reason}; "
                    f"{process.lost.count} records): findings, calls and lines of the log are "
                    "missing in this report"
                )
        for name, reason in self._unread.items():
            yield f"{name} of the spool could not be read: {reason}"
        torn = sum(1 for path, rest in self._rest.items() if rest and not self._grows(path))
        if self.bad_lines + torn:
            yield (
                f"{self.bad_lines + torn} lines of the spool could not be read: torn, or not "
                "written by pytest-loopsafe"
            )

    def deaths(
        self, run: str | None = None, how: Callable[[int], str] = lambda pid: ""
    ) -> Iterator[str]:
        """Which processes that ran a part of the run have ended, and when.

        Args:
            run: one run, or all.
            how: tells of a process's end what is known, `` (signal 9)``, or nothing.
        """
        calls = self.calls(run)
        for process in self.processes:
            own = [one for one in calls if one.process is process]
            if process.alive() or not own:
                continue
            last = own[-1]
            if last.state == "RUNNING":
                yield (
                    f"{process} died{how(process.pid)} while it ran task {last.task} (id {last.id},"
                    f" call {last.number} in it); what it had found until then is in this report"
                )
            else:
                end = "ended in order" if process.exited else f"died{how(process.pid)}"
                yield f"{process} {end} after {len(own)} of {len(calls)} calls"

    def _poll_file(self, path: Path) -> bool:
        begin = self._read.get(path, 0)
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                self._unread[path.name] = "it is no file"
                return False
            if status.st_size <= begin:
                return False
            # Should it be a FIFO by now, it must not be waited for.
            descriptor = os.open(path, _TO_READ)
            with open(descriptor, "rb") as file:
                file.seek(begin)
                data = file.read()
        except OSError as error:
            self._unread[path.name] = error.strerror or str(error)
            return False
        self._unread.pop(path.name, None)
        whole = data.rfind(b"\n") + 1  # what comes after is being written, or was cut off
        self._read[path], self._rest[path] = begin + whole, len(data) - whole
        for line in data[:whole].splitlines():
            try:
                self._take(path, records.parse(line))
            except (ValueError, KeyError, TypeError, RecursionError):
                self.bad_lines += 1
        return whole > 0

    def _ask_again_what_was_lost(self, path: Path) -> None:
        """Read the second line once more: it is written over where it stands."""
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with open(descriptor, "rb") as file:
                file.readline(_LONGEST_HEADER)
                record = records.parse(file.readline(_LONGEST_HEADER))
            if isinstance(record, records.Lost):
                self._take(path, record)

    def _take(self, path: Path, record: records.Record | None) -> None:
        if record is None:
            return
        if isinstance(record, records.Process):
            if path in self._by_file:
                raise ValueError("a process begins once")
            self._by_file[path] = ProcessRecord(record.pid, record.parent, record.role, record.host)
            return
        process = self._by_file[path]
        run = record.run or ""
        if isinstance(record, records.Began):
            call = Invocation(process, run, record.number, record.task, record.id)
            self.invocations.append(call)
            self.last_call[call.id] = self._open_calls[id(process), run, call.number] = call
        elif isinstance(record, records.Ended):
            call = self._open_calls.pop((id(process), run, record.number))
            call.state, call.error = record.state, record.error
            call.traceback = record.traceback
        elif isinstance(record, records.Found):
            process.findings[run, record.key] = record.finding
        elif isinstance(record, records.TakenBack):
            process.findings.pop((run, record.key), None)
        elif isinstance(record, records.Loops):
            known = process.loops.setdefault(run, {})
            known.update({info.number: info for info in record.loops})
        elif isinstance(record, records.Line):
            process.lines[run, record.number] = record.line
        elif isinstance(record, records.Published):
            self.published[record.id] = Publication(run, record.task, record.eta)
        elif isinstance(record, records.Note):
            process.notes.append((run, record.text))
        elif isinstance(record, records.Lost):
            process.lost = record
        elif isinstance(record, records.RunEnded):
            process.ended_runs.add(run)
        elif isinstance(record, records.Exit):
            process.exited = True


def fold(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One hazard that several processes met is one finding, with the sum of its counts."""
    folded: dict[object, Finding] = {}
    for finding in findings:
        site = finding.site
        key = (finding.code, (site.file, site.line) if site else finding.message, finding.owner)
        known = folded.get(key)
        if known is None:
            folded[key] = finding
            continue
        folded[key] = replace(
            known,
            count=known.count + finding.count,
            passes=tuple(sorted({*known.passes, *finding.passes})),
            swallowed=known.swallowed and finding.swallowed,
        )
    return tuple(folded.values())


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and only waits for its parent to ask how; Linux says so."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] in ("Z", "X")
