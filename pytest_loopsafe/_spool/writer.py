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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_loopsafe._spool import wire
from pytest_loopsafe._spool.appending import AppendedFile

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
