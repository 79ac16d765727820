"""Files for the user: each is written whole or not at all, where the user has meant it to be.

A report that is cut off in the middle, by a full disk or a killed process, would be taken for all
that was found, and a baseline for all that is known. So the text goes to a new file in the same
folder, which then takes the place of the old one in one step. It is not forced to the disk: what
would be lost with the machine's power is made again by the next run.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import stat
import time
from contextlib import suppress
from pathlib import Path

from pytest_loopsafe._words import clock

_PATIENCE = 5.0
"""Seconds for somebody to read, where the file is a FIFO."""
_AS_IT_IS = getattr(os, "O_BINARY", 0)  # a baseline is in version control: the same on Windows
_COMMON = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | _AS_IT_IS
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NEW = _COMMON | os.O_EXCL | _NO_LINK
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # to open a FIFO that nobody reads would else wait for ever
_IN_PLACE = _COMMON | os.O_TRUNC | _AT_ONCE
_AT_THE_END = _COMMON | os.O_APPEND | _AT_ONCE
_MOST_LINKS = 40
_NO_ROOM_BESIDE = (errno.EACCES, errno.EPERM, errno.EROFS)
_IS_MOUNTED = errno.EBUSY


def fault_of(path: str) -> str | None:
    """What is wrong with a path that a user gives, as far as can be known at the start."""
    try:
        if not path or Path(path).is_dir():
            return "give the path of a file"
        if not Path(path).absolute().parent.is_dir():
            return "there is no such folder"
        with suppress(FileNotFoundError):
            os.lstat(path)  # is_dir() of 3.14 says False of a name that no file can have
    except (OSError, ValueError) as error:  # a name too long, no permission; a zero in the path
        return _reason(error)
    return None


def write(path: Path, text: str) -> str | None:
    """Write a file; what is wrong, where that cannot be done: then the old one is as it was.

    What is no regular file (a FIFO, a device, ``/dev/stdout``) is written to as it is.
    """
    try:
        data = text.encode("utf-8", "backslashreplace")
        target = _target(path)
        if target is None:
            _write_in_place(path, data)
        else:
            _replace(target, data)
    except (OSError, ValueError) as error:
        return _reason(error)
    return None


def append(path: Path, text: str) -> str | None:
    """Write at the end of a file, in one step; what is wrong, where that cannot be done."""
    try:
        _write_in_place(path, text.encode("utf-8", "backslashreplace"), _AT_THE_END)
    except (OSError, ValueError) as error:
        return _reason(error)
    return None


def _target(path: Path) -> Path | None:
    """The regular file, there or not, that a path leads to; None where it leads to none.

    Raises:
        OSError: somebody else has put a link there, to have us write where they cannot.
    """
    for _ in range(_MOST_LINKS):
        try:
            status = path.lstat()
        except FileNotFoundError:
            return path
        if not stat.S_ISLNK(status.st_mode):
            return path if stat.S_ISREG(status.st_mode) and not _is_descriptor(path) else None
        if _is_of_others(path, status):
            raise OSError(errno.EACCES, "it is a link that another user has put there")
        if _is_descriptor(path):
            return None
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_descriptor(path: Path) -> bool:
    """Whether it stands for what is open already: in its place nothing can be put."""
    folder = os.path.realpath(path.parent)
    return folder == "/dev/fd" or folder.startswith("/proc/")


def _is_of_others(path: Path, status: os.stat_result) -> bool:
    """Whether what is at a path is of somebody else, in a folder that all may write to (``/tmp``).

    The same as Linux's ``fs.protected_symlinks``, which is off in some containers.
    """
    if not hasattr(os, "geteuid"):
        return False
    folder = os.stat(path.parent)
    shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
    return bool(shared) and status.st_uid not in (os.geteuid(), folder.st_uid)


def _replace(path: Path, data: bytes) -> None:
    """Put a new file in the place of the old one, with its owner and mode if these are trusted."""
    old = path.lstat() if path.exists() else None
    beside = path.with_name(f".loopsafe-{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(beside, _NEW, 0o666)  # less the umask
    except OSError as error:
        if old is None or error.errno not in _NO_ROOM_BESIDE:
            raise
        # A folder of others' with the user's file in it.
        _write_in_place(path, data, _IN_PLACE | _NO_LINK)
        return
    try:
        try:
            if old is not None and not _is_of_others(path, old):
                _become(descriptor, old)
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)
        os.replace(beside, path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if not isinstance(error, OSError) or error.errno != _IS_MOUNTED or old is None:
            raise
        # A single file that is mounted into a container.
        _write_in_place(path, data, _IN_PLACE | _NO_LINK)


def _become(descriptor: int, old: os.stat_result) -> None:
    if not hasattr(os, "fchown"):  # on Windows, which from 3.13 on has an fchmod
        return
    with suppress(OSError):  # only root gives files away
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode) & 0o777)


def _write_in_place(path: Path, data: bytes, flags: int = _IN_PLACE) -> None:
    descriptor = _opened(path, flags)
    try:
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _opened(path: Path, flags: int) -> int:
    deadline = clock.now() + _PATIENCE
    while True:
        try:
            return os.open(path, flags, 0o666)
        except OSError as error:
            if error.errno != errno.ENXIO or clock.now() > deadline:
                raise
        time.sleep(0.05)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        with suppress(BlockingIOError):
            left = left[os.write(descriptor, left) :]
            continue
        if not select.select([], [descriptor], [], _PATIENCE)[1]:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return "nobody reads it" if error.errno == errno.ENXIO else error.strerror or str(error)
    return f"{type(error).__name__}: {error}"
