"""What a run or a watch gives back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pytest_loopsafe._report.document import report_data
from pytest_loopsafe._report.rendering import render_lines, render_report
from pytest_loopsafe._report.text import count
from pytest_loopsafe._words.findings import Finding, LogLine, Origin
from pytest_loopsafe._words.loops import LoopInfo


@dataclass(frozen=True)
class PassOutcome:
    """How one pass ended.

    Attributes:
        number: from 1.
        value: what the code returned; a list of that with ``concurrency`` above 1.
        error: the exception that left the pass, or None.
        origin: the process and the Celery task, where it ran in another process.
    """

    number: int
    value: Any = None
    error: BaseException | None = None
    origin: Origin | None = None


@dataclass(frozen=True)
class Contents:
    """All that a report says, as data."""

    findings: tuple[Finding, ...] = ()
    loops: tuple[LoopInfo, ...] = ()
    logs: tuple[LogLine, ...] = ()
    logs_lost: int = 0
    schedule: str | None = None
    passes: tuple[PassOutcome, ...] = ()
    notes: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
    refused: Warning | None = None
    """A warning of the watch's own that a filter has made an error."""


class LoopReport:
    """The loops, findings and results of a run or a watch.

    Inside ``with watch() as report`` it is live: it shows what has been found so far. Once that has
    ended, nothing in it changes any more.
    """

    def __init__(self, look: Callable[[], Contents]) -> None:
        self._look = look
        self._is_known: Callable[[Finding], bool] = lambda finding: False

    def set_aside(self, is_known: Callable[[Finding], bool]) -> None:
        """Have what the project lives with in `known`, and not in `findings`."""
        self._is_known = is_known

    def close(self, **changes: Any) -> None:
        """Keep what there is now, with these fields of `Contents` changed."""
        contents = replace(self._look(), **changes)
        self._look = lambda: contents

    def without_results(self) -> LoopReport:
        """The same as it is now, with nothing of the code's own: no values, no exceptions."""
        contents = replace(self._look(), passes=())
        report = LoopReport(lambda: contents)
        report.set_aside(self._is_known)
        return report

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order in which they were first seen."""
        return tuple(one for one in self._look().findings if not self._is_known(one))

    @property
    def known(self) -> tuple[Finding, ...]:
        """The findings that the file of ``--loopsafe-baseline`` has: they fail no test."""
        return tuple(filter(self._is_known, self._look().findings))

    @property
    def loops(self) -> tuple[LoopInfo, ...]:
        """All loops made during the watch, in order."""
        return self._look().loops

    @property
    def logs(self) -> tuple[LogLine, ...]:
        """What the code logged, through ``logging`` or structlog, at most 10,000 lines."""
        return self._look().logs

    @property
    def schedule(self) -> str | None:
        """How the loops followed one another; None where nobody asked for it."""
        return self._look().schedule

    @property
    def passes(self) -> tuple[PassOutcome, ...]:
        """How each pass ended."""
        return self._look().passes

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be seen, or not be done as asked."""
        return self._look().notes

    @property
    def verdict(self) -> tuple[str, ...]:
        """What `assert_rebinds` has to say, in lines; empty for a plain run."""
        return self._look().verdict

    @property
    def results(self) -> tuple[Any, ...]:
        """Each pass's value, or the exception that left it."""
        return tuple(one.value if one.error is None else one.error for one in self.passes)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that fail a test."""
        return tuple(finding for finding in self.findings if finding.is_error)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are only reported."""
        return tuple(finding for finding in self.findings if not finding.is_error)

    def raise_for_errors(self) -> None:
        """Fail if anything of severity error was found.

        Raises:
            LoopSafetyError: carrying this report.
            LoopsafeWarning: a detector failed, and a filter makes errors of such warnings.
        """
        if self.errors:
            raise LoopSafetyError(self)
        refused = self._look().refused
        if refused is not None:
            raise refused

    def assert_not_logged(self, text: str | re.Pattern[str]) -> None:
        """Assert that no line of the log has a text in its message or its error.

        Args:
            text: a part of the line, or a compiled pattern to search for.

        Raises:
            AssertionError: lines have it, and are listed; or so much was logged that not all lines
                were kept, and nobody can tell.
            TypeError: `text` is neither.
            ValueError: `text` is empty.
        """
        __tracebackhide__ = True
        contents = self._look()
        found = _lines_with(text, contents.logs)
        wanted = repr(text if isinstance(text, str) else text.pattern)
        if found:
            raise AssertionError(render_lines(wanted, found, self.findings).plain())
        if contents.logs_lost:
            were = "was" if contents.logs_lost == 1 else "were"
            more = f"{count(contents.logs_lost, 'more log line')} {were} not kept"
            raise AssertionError(f"{wanted} is not in the lines that were kept, but {more}")

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-able data, in the shape of a test of ``--loopsafe-json``.

        ``{"loops": N, "findings": [...], "groups": [...], "lanes": [...], "notes": [...]}``.
        """
        contents = self._look()
        told = (one for one in contents.findings if not self._is_known(one))
        return report_data(told, contents.loops, contents.notes)

    def __str__(self) -> str:
        return render_report(self).plain()

    def __repr__(self) -> str:
        return f"<LoopReport: {len(self.loops)} loops, {len(self.findings)} findings>"


def _lines_with(wanted: str | re.Pattern[str], lines: tuple[LogLine, ...]) -> list[LogLine]:
    """The lines whose message or error has this text in it."""
    if isinstance(wanted, re.Pattern) and isinstance(wanted.pattern, str):
        found: Callable[[str], object] = wanted.search
    elif not isinstance(wanted, str):
        raise TypeError(
            f"{wanted!r} cannot be looked for in the log: give a str, or a str pattern "
            "compiled with re.compile()"
        )
    elif not wanted:
        raise ValueError("the text to look for in the log is empty: every line has that")
    else:
        part = wanted

        def found(text: str) -> object:
            return part in text

    return [
        line
        for line in lines
        if found(line.message) or (line.error is not None and found(line.error))
    ]


class LoopsafeWarning(UserWarning):
    """Something is wrong with the watching itself; what was found so far stands.

    Where a filter makes it an error, it is raised with the verdict: the test fails.
    """


class LoopSafetyError(AssertionError):
    """The code is not loop-safe. `report` tells what was found."""

    def __init__(self, report: LoopReport) -> None:
        super().__init__(str(report))
        self.report = report
