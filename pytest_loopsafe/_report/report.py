"""What a run or a watch gives back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe._probes.logs import LogBook
from pytest_loopsafe._report.rendering import render_lines, render_report
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


class LoopReport:
    """The loops, findings and results of a run or a watch.

    Inside ``with watch() as report`` it is live: it shows what has been found so far.
    """

    def __init__(
        self,
        findings: Callable[[], tuple[Finding, ...]],
        loops: Callable[[], tuple[LoopInfo, ...]],
        schedule: str | None = None,
        logs: LogBook | None = None,
    ) -> None:
        self._findings = findings
        self._loops = loops
        self._logs = logs if logs is not None else LogBook()
        self.schedule = schedule
        self.passes: tuple[PassOutcome, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.verdict: tuple[str, ...] = ()
        """What `assert_rebinds` has to say, in lines; empty for a plain run."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order in which they were first seen."""
        return self._findings()

    @property
    def loops(self) -> tuple[LoopInfo, ...]:
        """All loops made during the watch, in order."""
        return self._loops()

    @property
    def logs(self) -> tuple[LogLine, ...]:
        """What the code logged, through ``logging`` or structlog, at most 10,000 lines."""
        return self._logs.lines()

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
        """
        if self.errors:
            raise LoopSafetyError(self)

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
        found = self._logs.search(text)
        wanted = repr(text if isinstance(text, str) else text.pattern)
        if found:
            raise AssertionError(render_lines(wanted, found, self.findings).plain())
        if self._logs.lost:
            raise AssertionError(
                f"{wanted} is not in the lines that were kept, but {self._logs.notes()[0]}"
            )

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-able data: ``{"loops": N, "findings": [...], "notes": [...]}``."""
        return {
            "loops": len(self.loops),
            "findings": [finding.to_json() for finding in self.findings],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return render_report(self).plain()

    def __repr__(self) -> str:
        return f"<LoopReport: {len(self.loops)} loops, {len(self.findings)} findings>"


class LoopSafetyError(AssertionError):
    """The code is not loop-safe. `report` tells what was found."""

    def __init__(self, report: LoopReport) -> None:
        super().__init__(str(report))
        self.report = report
