"""What forked children of watched code find, brought home to the watch of their parent."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile

from pytest_loopsafe._spool import wire
from pytest_loopsafe._spool.reader import SpoolReader, fold
from pytest_loopsafe._spool.writer import SpoolError, SpoolWriter
from pytest_loopsafe._words.findings import Finding, LogLine

_ROOM = 1 << 14
"""Bytes that a child needs, to say that there was one."""


class ChildsHand:
    """What a forked child writes down at once.

    Args:
        writer: where to.
    """

    def __init__(self, writer: SpoolWriter) -> None:
        self._writer = writer

    def found(self, number: int, finding: Finding) -> None:
        """A finding, new or changed."""
        self._writer.write("finding", key=number, finding=wire.encode(finding))

    def taken_back(self, number: int) -> None:
        """One that turned out to be none."""
        self._writer.write("taken_back", key=number)

    def written(self, number: int, line: LogLine) -> None:
        """A line of the log."""
        self._writer.write("line", number=number, line=wire.encode(line))


class ForkedChildren:
    """The spool that the children of one watch write to. The first child makes it.

    Its parent may be in a running loop at that moment, where nothing is to block: a suite that
    looks for blocking calls there (blockbuster) would find ours.
    """

    def __init__(self) -> None:
        self._place: str | None = None
        with contextlib.suppress(OSError):  # then what children find is not seen, and they live
            self._place = tempfile.gettempdir()
        self._folder: str | None = None
        self._reader: SpoolReader | None = None
        self._notes: tuple[str, ...] = ()
        self._owner = os.getpid()

    def expect(self) -> None:
        """A child is about to be forked."""
        if self._folder is None and self._place is not None:
            self._folder = os.path.join(self._place, f"loopsafe-{secrets.token_hex(8)}")
            self._reader = SpoolReader(self._folder)

    def writer(self) -> SpoolWriter | None:
        """For a child: where to write; None where there is no place."""
        try:
            return SpoolWriter(self.folder(), "forked child", is_private=True)
        except Exception:  # noqa: BLE001 - a fault of ours is never the code's
            return None

    def forked(self) -> None:
        """This is a child now: what all children found, itself among them, is its parent's."""
        self._reader = None

    def findings(self) -> tuple[Finding, ...]:
        """What all children have found so far."""
        if self._reader is None:
            return ()
        self.poll()
        return fold(
            finding for process in self._reader.processes for finding in process.findings.values()
        )

    def lines(self) -> tuple[LogLine, ...]:
        """What all children have logged."""
        return self._reader.lines() if self._reader is not None else ()

    def notes(self) -> tuple[str, ...]:
        """What children could not write down; known once all is read."""
        return self._notes

    @property
    def reader(self) -> SpoolReader | None:
        """All that the children have written; None as long as there was none."""
        return self._reader

    def folder(self) -> str:
        """Where the children write, made where it is not there.

        Raises:
            OSError: there is no place for it.
        """
        if self._folder is None:
            raise FileNotFoundError("there is no temporary folder for what forked children find")
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._folder, 0o700)
        return self._folder

    def poll(self) -> None:
        """Read what is new."""
        if self._folder is not None and self._reader is not None:
            with contextlib.suppress(SpoolError):  # none made it, or the code removed it
                self._reader.poll()

    def close(self) -> None:
        """Read for the last time and remove the folder; what a child finds later is lost."""
        if self._folder is None or self._reader is None or os.getpid() != self._owner:
            return
        self.poll()
        self._notes = tuple(self._reader.notes())
        if not self._reader.processes:
            self._notes += self._why_none()
        folder, self._folder = self._folder, None
        shutil.rmtree(folder, ignore_errors=True)

    def _why_none(self) -> tuple[str, ...]:
        """There were children, and none has written anything: where we cannot either, that is why.

        Where we can, they may have had no time to begin, or had replaced themselves at once.
        """
        try:
            path = os.path.join(self.folder(), "is-there-room")
            with open(path, "wb") as file:
                file.write(bytes(_ROOM))
        except OSError as error:
            reason = error.strerror or str(error)
            return (f"forked children could not write down what they found ({reason})",)
        return ()
