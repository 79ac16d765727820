"""What fails of our own while code is watched: told beside what was found, and no harm to it."""

from __future__ import annotations

import sys
import warnings

from pytest_loopsafe._report.report import LoopsafeWarning
from pytest_loopsafe._words.secrets import masked

_ROOM = 250
"""Frames that judging may need: who is that close to the limit has got there by themselves."""


class Faults:
    """The faults of one watch, each told once.

    Attributes:
        refused: the warning that a filter has made an error of; it is raised with the verdict.
    """

    def __init__(self) -> None:
        self.refused: LoopsafeWarning | None = None
        self._texts: list[str] = []
        self._told = 0
        self._is_code_deep = False

    def note(self, what: str, error: Exception) -> bool:
        """Take in that something failed.

        Args:
            what: in words, as a sentence without its end.
            error: why.

        Returns:
            Whether it is a fault of ours. The code may have gone as deep as it is allowed to, and
            then no more can be called, by whomever.
        """
        if isinstance(error, RecursionError) and _depth() > sys.getrecursionlimit() - _ROOM:
            self._is_code_deep = True
            return False
        text = (
            f"{what}: {type(error).__name__}: {error}. What was found stands; please report this."
        )
        if text not in self._texts:
            self._texts.append(text)
        return True

    def notes(self) -> tuple[str, ...]:
        """What has to be known of a report that is not whole."""
        deep = "the code came close to the recursion limit, and what it did there was not judged"
        return (*((deep,) if self._is_code_deep else ()), *self._texts)

    def warn(self) -> None:
        """Warn of what is new."""
        for text in self._texts[self._told :]:
            self._told += 1
            try:
                warnings.warn(masked(text), LoopsafeWarning, stacklevel=3)
            except LoopsafeWarning as error:  # an error here: no place to raise it, so at the end
                self.refused = error.with_traceback(None)  # frames would keep what ran alive


def _depth() -> int:
    depth, frame = 0, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    return depth
