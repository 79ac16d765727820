"""What watched processes leave behind: a folder with one growing file for each of them.

Every record is one line of JSON, handed to the operating system in one write before the code under
test goes on. So whatever ends the process (``SIGKILL``, ``os._exit``, a crash in C), what it had
found until then can be read. A pipe to the parent was rejected: it can fill up and stall the code
under test, and what is still in it when the reader dies is lost.

The second record counts what could not be written, and why. It is there from the start, and is
written over where it stands: on a full disk there is no room for a record more.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_loopsafe._spool import wire
from pytest_loopsafe._spool.appending import AppendedFile
from pytest_loopsafe._words.secrets import masked_data

VERSION = 1
SUFFIX = ".loopsafe.jsonl"
RUN_FILE = "run.json"
_WIDTH_OF_LOST, _LONGEST_REASON = 512, 60


class SpoolError(RuntimeError):
    """A spool cannot be written or read; the message names the path and what to do."""


class SpoolWriter:
    """Appends records to this process's own file.

    Args:
        folder: the spool; it must exist.
        role: what the process is, ``worker child``; a few words for the reader.
        is_private: the folder is a temporary one that the tests made and remove, which nobody else
            may read. What is written there is in the tests' hands again at once, and they look for
            secrets in it: ``assert_not_logged("hunter2")``. Elsewhere secrets are masked.

    Attributes:
        folder: the spool.
        pid: the process whose file this is.

    Raises:
        SpoolError: the folder cannot be written to.
    """

    def __init__(
        self, folder: str | os.PathLike[str], role: str, *, is_private: bool = False
    ) -> None:
        self.folder = Path(folder)
        self._is_private = is_private
        self.pid = os.getpid()
        path = self.folder / f"{self.pid}-{time.time_ns()}{SUFFIX}"
        self._lost = 0
        begin = {
            "version": VERSION,
            "pid": self.pid,
            "parent": os.getppid(),
            "role": role,
            "host": platform.node(),
        }
        header = self._line("process", begin)
        self._place_of_lost = len(header)
        try:
            self._file = AppendedFile(path)
            self._file.append(header + _lost_line(0, ""))
        except OSError as error:
            raise SpoolError(f"{folder}: cannot be written to: {error.strerror}") from None

    def write(self, kind: str, **data: Any) -> None:
        """Append one record; one that cannot be written is counted, and nothing is raised.

        For this is called in the midst of the code under test and of the rules, who can do nothing
        about a full disk: a worker goes on to serve, and a rule to judge.
        """
        try:
            self._file.append(self._line(kind, data))
        except OSError as error:
            self.lose(error)

    def lose(self, error: OSError) -> None:
        """Count what could not be written, for the reader to know that something is missing."""
        self._lost += 1
        reason = error.strerror or str(error)
        with suppress(OSError):
            self._file.replace(self._place_of_lost, _lost_line(self._lost, reason))
        if self._lost == 1 and not self._is_private and sys.__stderr__ is not None:
            text = f"{self.folder}: {reason}: not all that is found is written down from here on"
            with suppress(OSError, ValueError):
                print(f"pytest-loopsafe: {text}", file=sys.__stderr__, flush=True)

    def _line(self, kind: str, data: dict[str, Any]) -> bytes:
        if not self._is_private:
            data = masked_data(data)
        line = json.dumps({"kind": kind, **data}, default=repr) + "\n"
        return line.encode("utf-8", "backslashreplace")

    def close(self) -> None:
        """Give the file back; nothing is left to be written, it is only a descriptor."""
        self._file.close()


def _lost_line(count: int, reason: str) -> bytes:
    """The record of what was lost, as long as any other of its kind."""
    line = json.dumps({"kind": "lost", "count": count, "reason": reason[:_LONGEST_REASON]})
    return line.encode().ljust(_WIDTH_OF_LOST - 1) + b"\n"


@dataclass(frozen=True)
class RunRequest:
    """What the processes that write to a spool are asked to do.

    Attributes:
        run: names the run; a process that sees a new name begins anew.
        strict: count warnings as errors.
        ignore: rules to leave out, as text.
        timeout: seconds that one invocation may take; None for no limit.
        over: whether all that is left is to judge what was left.
    """

    run: str = ""
    strict: bool = False
    ignore: tuple[str, ...] = ()
    timeout: float | None = None
    over: bool = False

    def write(self, folder: Path) -> None:
        """Ask all who read this folder, from now on."""
        unfinished = folder / f"{RUN_FILE}.unfinished"
        unfinished.write_text(json.dumps(wire.encode(self)), encoding="utf-8")
        os.replace(unfinished, folder / RUN_FILE)

    @classmethod
    def read(cls, folder: Path) -> RunRequest:
        """What is asked now; where nobody asks, to watch for ever and without a limit."""
        try:
            return wire.decode(cls, json.loads((folder / RUN_FILE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls()
