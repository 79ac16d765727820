"""The file of ``--loopsafe-json``: whatever is wrong with it, the rest of the report is printed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import time
from pathlib import Path
from typing import Any

_PATIENCE = 5.0
"""Seconds for somebody to read, where the file is a FIFO."""
_FLAGS = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_TRUNC
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # to open a FIFO that nobody reads would else wait for ever
)


def fault_of(path: str) -> str | None:
    """What is wrong with a path that a user gives, as far as can be known at the start."""
    try:
        if not path or Path(path).is_dir():
            return "give the path of a file"
        if not Path(path).absolute().parent.is_dir():
            return "there is no such folder"
    except (OSError, ValueError) as error:  # a name too long, no permission; a zero in the path
        return _reason(error)
    return None


def write(
    path: Path, tests: list[dict[str, Any]], audit: dict[str, Any] | None = None
) -> str | None:
    """Write the file; what is wrong, where that cannot be done."""
    try:
        counts = {"audit": audit} if audit is not None else {}
        text = json.dumps({"version": 1, "tests": tests, **counts}, indent=1) + "\n"
        descriptor = _opened(path)
        try:
            _write_all(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return _reason(error)
    return None


def encodable(value: Any) -> Any:
    """JSON-able data in which each text can be encoded.

    Half of a surrogate pair, as a name that the code made up may have it, is refused by most that
    read JSON, and by pytest-xdist, whose worker would be gone with all that it found.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {key: encodable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [encodable(one) for one in value]
    return value


def _opened(path: Path) -> int:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return os.open(path, _FLAGS, 0o666)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        with contextlib.suppress(BlockingIOError):
            data = data[os.write(descriptor, data) :]
            continue
        if not select.select([], [descriptor], [], _PATIENCE)[1]:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return "nobody reads it" if error.errno == errno.ENXIO else error.strerror or str(error)
    return f"{type(error).__name__}: {error}"
