"""``loop 7/50`` behind pytest's own line, for as long as a long run takes, on a live terminal.

It goes to the terminal itself and not through pytest's writer, which counts what is on its line;
the cursor is put back, so pytest goes on where it was.
"""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from pytest_loopsafe._plugin.terminal import is_live
from pytest_loopsafe._words import clock

_PATIENCE = 1.0
"""Seconds until something is shown: most runs take less."""
_EVERY = 0.1
_HERE, _BACK, _TO_THE_END = "\x1b7", "\x1b8", "\x1b[K"


class Progress:
    """Shows how far a run has come.

    Args:
        terminal: the path of the terminal.
    """

    def __init__(self, terminal: str) -> None:
        self._terminal = terminal
        self._begun = self._shown = 0.0

    @classmethod
    def of(cls, config: pytest.Config) -> Progress | None:
        """For the terminal that pytest writes to; None where that is no live one."""
        return cls(os.ctermid()) if is_live(config) and hasattr(os, "ctermid") else None

    def __call__(self, number: int, total: int) -> None:
        """A loop begins, or with a number beyond the last one the run has ended."""
        now = clock.now()
        if number <= 1:
            self._begun, self._shown = now, 0.0
        ended = number > total
        if ended and self._shown:
            self._show("")
            self._shown = 0.0
        elif not ended and now - self._begun >= _PATIENCE and now - self._shown >= _EVERY:
            self._show(f"  loop {number}/{total}")
            self._shown = now

    def _show(self, text: str) -> None:
        with suppress(OSError), open(self._terminal, "w", encoding="ascii") as terminal:
            terminal.write(f"{_HERE}{text}{_TO_THE_END}{_BACK}")
