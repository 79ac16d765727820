"""What watched processes leave behind: a folder with one growing file for each of them.

Every record is one line of JSON, handed to the operating system in one write before the code under
test goes on. So whatever ends the process (``SIGKILL``, ``os._exit``, a crash in C), what it had
found until then can be read. A pipe to the parent was rejected: it can fill up and stall the code
under test, and what is still in it when the reader dies is lost.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_loopsafe import wire
from pytest_loopsafe.appending import AppendedFile
from pytest_loopsafe.findings import Finding
from pytest_loopsafe.loops import LoopInfo

VERSION = 1
SUFFIX = ".loopsafe.jsonl"
RUN_FILE = "run.json"


class SpoolError(RuntimeError):
    """A spool cannot be written or read; the message names the path and what to do."""


class SpoolWriter:
    """Appends records to this process's own file.

    Args:
        folder: the spool; it must exist.
        role: what the process is, ``worker child``; a few words for the reader.

    Raises:
        SpoolError: the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str], role: str) -> None:
        self.folder = Path(folder)
        self.pid = os.getpid()
        path = self.folder / f"{self.pid}-{time.time_ns()}{SUFFIX}"
        try:
            self._file = AppendedFile(path)
        except OSError as error:
            raise SpoolError(f"{folder}: cannot be written to: {error.strerror}") from None
        self.write(
            "process",
            version=VERSION,
            pid=self.pid,
            parent=os.getppid(),
            role=role,
            host=platform.node(),
        )

    def write(self, kind: str, **data: Any) -> None:
        """Append one record."""
        line = json.dumps({"kind": kind, **data}, default=repr) + "\n"
        self._file.append(line.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Give the file back; nothing is left to be written, it is only a descriptor."""
        self._file.close()


@dataclass(frozen=True)
class RunRequest:
    """What the processes that write to a spool are asked to do.

    Attributes:
        run: names the run; a process that sees a new name begins anew.
        strict: count warnings as errors.
        ignore: rules to leave out, as text.
        timeout: seconds that one invocation may take; None for no limit.
    """

    run: str = ""
    strict: bool = False
    ignore: tuple[str, ...] = ()
    timeout: float | None = None

    def write(self, folder: Path) -> None:
        """Ask all who read this folder, from now on."""
        unfinished = folder / f"{RUN_FILE}.unfinished"
        unfinished.write_text(json.dumps(wire.encode(self)))
        os.replace(unfinished, folder / RUN_FILE)

    @classmethod
    def read(cls, folder: Path) -> RunRequest:
        """What is asked now; where nobody asks, to watch for ever and without a limit."""
        try:
            return wire.decode(cls, json.loads((folder / RUN_FILE).read_text()))
        except FileNotFoundError:
            return cls()


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
    """

    process: ProcessRecord
    run: str
    number: int
    task: str
    id: str
    state: str = "RUNNING"
    error: str | None = None

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
    lines: list[tuple[str, Any]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    ended_runs: set[str] = field(default_factory=set)
    exited: bool = False
    data: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.role} {self.pid}"

    def alive(self) -> bool:
        """Whether the process still runs; True for one of another machine that has not said."""
        if self.exited:
            return False
        if self.host != platform.node():
            return True
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
        positions = {
            (id(one.process), one.run, one.number): position
            for position, one in enumerate(self.calls(run), 1)
        }
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
        if self.bad_lines:
            yield f"{self.bad_lines} lines of the spool could not be read"

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
                end = "ended in order" if process.exited else "died"
                yield f"{process} {end}{how(process.pid)} after {len(own)} of {len(calls)} calls"

    def _poll_file(self, path: Path) -> bool:
        begin = self._read.get(path, 0)
        if path.stat().st_size <= begin:
            return False
        with path.open("rb") as file:
            file.seek(begin)
            data = file.read()
        whole = data.rfind(b"\n") + 1  # what comes after is being written, or was cut off
        self._read[path] = begin + whole
        for line in data[:whole].splitlines():
            try:
                self._take(path, json.loads(line))
            except (ValueError, KeyError, TypeError):
                self.bad_lines += 1
        return whole > 0

    def _take(self, path: Path, record: dict[str, Any]) -> None:
        kind = record.pop("kind")
        if kind == "process":
            if record["version"] != VERSION:
                raise ValueError(record["version"])
            self._by_file[path] = ProcessRecord(
                record["pid"], record["parent"], record["role"], record["host"]
            )
            return
        process = self._by_file[path]
        run = record.get("run", "")
        if kind == "began":
            call = Invocation(process, run, record["number"], record["task"], record["id"])
            self.invocations.append(call)
            self.last_call[call.id] = self._open_calls[id(process), run, call.number] = call
        elif kind == "ended":
            call = self._open_calls.pop((id(process), run, record["number"]))
            call.state, call.error = record["state"], record["error"]
        elif kind == "finding":
            finding = wire.decode(Finding, record["finding"])
            process.findings[run, record["key"]] = finding
        elif kind == "loops":
            known = process.loops.setdefault(run, {})
            for data in record["loops"]:
                info = wire.decode(LoopInfo, data)
                known[info.number] = info
        elif kind == "published":
            self.published[record["id"]] = Publication(run, record["task"], record["eta"])
        elif kind == "note":
            process.notes.append((run, record["text"]))
        elif kind == "run_ended":
            process.ended_runs.add(run)
        elif kind == "exit":
            process.exited = True
        else:
            process.data.append({"kind": kind, **record})


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
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] in ("Z", "X")
