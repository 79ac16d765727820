"""What is said when the process ends before anybody could report."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pytest_loopsafe._words.secrets import masked


def to_stderr(text: str) -> None:
    """Say it past whatever stands in the place of ``sys.stderr``, without secrets."""
    text = masked(text)
    try:
        print(text, file=sys.__stderr__, flush=True)
    except Exception:  # noqa: BLE001 - closed; or this is a signal handler, and print was under way
        with contextlib.suppress(OSError):
            os.write(2, f"{text}\n".encode(errors="backslashreplace"))


@contextlib.contextmanager
def exit_guarded(last_word: Callable[[int], None]) -> Iterator[None]:
    """Have a last word when the code under test ends the process with ``os._exit``.

    It ends all the same, with its status, as it would without us; but not in silence. Children
    that the code forks end in this way as a matter of course, and are left alone.

    Args:
        last_word: called with the exit status.
    """
    original, pid = os._exit, os.getpid()

    @functools.wraps(original)
    def _exit(status: int) -> Any:
        if os.getpid() != pid:
            return original(status)
        try:
            last_word(status)
        finally:  # whatever becomes of it
            original(status)

    _exit.__module__ = "os"  # and not posix, where pickle would find the original
    os._exit = _exit
    try:
        yield
    finally:
        if os._exit is _exit:
            os._exit = original
