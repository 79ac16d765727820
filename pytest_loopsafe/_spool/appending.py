"""A file that is only ever appended to, in a process whose code may close what it inherits."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)


class AppendedFile:
    """Appends to a file that it makes where there is none.

    Before each write the descriptor is looked at. A daemon closes all that it inherits, and then
    the number may be that of one of its own sockets.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def append(self, data: bytes) -> None:
        """Write all of this at the end."""
        if not self._is_open():
            self._open()
        os.write(self._descriptor, data)

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
