"""A file that is only ever appended to, in a process whose code may close what it inherits."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_IN_PLACE = os.O_WRONLY | getattr(os, "O_CLOEXEC", 0)
_IN_PLACE |= getattr(os, "O_BINARY", 0)  # Windows would write, and count, two bytes for each "\n"
_FLAGS = _IN_PLACE | os.O_CREAT | os.O_APPEND


class AppendedFile:
    """Appends to a file that it makes where there is none.

    Before each write the descriptor is looked at. A daemon closes all that it inherits, and then
    the number may be that of one of its own sockets.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_torn = False
        self._open()

    def append(self, data: bytes) -> None:
        """Write a line at the end, in one step where the system takes it whole.

        Raises:
            OSError: not all of it was written, for the disk is full, say. What was written is a
                line of its own: the next one begins anew.
        """
        if not self._is_open():
            self._open()
        left = memoryview(b"\n" + data if self._is_torn else data)
        while left:
            written = os.write(self._descriptor, left)
            left = left[written:]
            self._is_torn = bool(left)

    def replace(self, at: int, data: bytes) -> None:
        """Put something in the place of as many bytes, which takes no room on a full disk.

        Raises:
            OSError: it cannot be written to.
        """
        descriptor = os.open(self._path, _IN_PLACE)  # what is open appends, wherever it is told to
        try:
            os.lseek(descriptor, at, os.SEEK_SET)
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._is_open():
            os.close(self._descriptor)

    def _open(self) -> None:
        self._descriptor = os.open(self._path, _FLAGS, 0o600)
        self._identity = _identity(self._descriptor)

    def _is_open(self) -> bool:
        with suppress(OSError):
            return _identity(self._descriptor) == self._identity
        return False


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
