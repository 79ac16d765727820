"""Which files may be read for a source line that another process has told of."""

from __future__ import annotations

import os
from contextlib import suppress

from pytest_loopsafe._words.whose import TERRITORY


def is_of_project(file: str) -> bool:
    """Whether a path is that of a Python file below the project's folder or the working directory.

    What a spool says may have been written by anybody, and on another machine. A report of it
    shows the project's own lines, and never one of whatever other file is named there.
    """
    if not file.endswith(".py"):
        return False
    with suppress(OSError, ValueError):  # the working directory is gone; a path with a zero in it
        roots = [claim.root for claim in TERRITORY.view.key[1]]
        roots.append(os.getcwd())
        return os.path.isfile(file) and any(
            _is_below(of(file), of(root)) for root in roots for of in (os.path.abspath, _real)
        )
    return False


def _real(path: str) -> str:
    return os.path.realpath(path)


def _is_below(path: str, root: str) -> bool:
    return path.startswith(root.rstrip(os.sep) + os.sep)
