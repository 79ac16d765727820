"""Findings in the reports of tests: in the place of a traceback, beside one, and as data."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_loopsafe._plugin import terminal
from pytest_loopsafe._plugin.session import LoopsafeSession


class Reporting:
    """Adds what was found in a test to the test's report.

    Args:
        session: keeps what was found.
    """

    def __init__(self, session: LoopsafeSession) -> None:
        self._session = session

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the findings in the place of a traceback, and beside the code's own exception."""
        report = yield
        reports = self._session.reports_of(item)
        if call.when != "call" or not reports:
            return report
        from pytest_loopsafe._report.rendering import render_report
        from pytest_loopsafe._report.report import LoopSafetyError

        verbose = terminal.verbosity(item.config) > 0
        error = call.excinfo.value if call.excinfo is not None else None
        unsafe = isinstance(error, LoopSafetyError)
        if isinstance(error, LoopSafetyError) and report.failed:
            text = render_report(error.report, verbose=verbose)
            report.longrepr = terminal.UnsafeRepr(text, error.report)  # type: ignore[assignment]
        elif report.failed or not unsafe:
            report.sections += [
                ("loopsafe", render_report(one, verbose=verbose).plain())
                for one in reports
                if one.findings
            ]
        # Plain data under a name of ours travels with the report, from xdist's workers too.
        report.loopsafe = {  # type: ignore[attr-defined]
            **self._session.data_of(item, report.outcome),
            "unsafe": unsafe and report.failed,
        }
        self._session.ended(item)
        return report
