"""Findings in the reports of tests: in the place of a traceback, beside one, and as data."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_loopsafe._plugin import terminal
from pytest_loopsafe._plugin.session import LoopsafeSession

_PROPERTY = "loopsafe"


class Reporting:
    """Adds what was found in a test to the test's report.

    Args:
        session: keeps what was found.
    """

    def __init__(self, session: LoopsafeSession) -> None:
        self._session = session
        self._called: pytest.Item | None = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Know of a report that is made meanwhile that it is a subtest's, and not the verdict."""
        self._called = item
        try:
            return (yield)
        finally:
            self._called = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the findings in the place of a traceback, and beside the code's own exception."""
        reports = self._session.reports_of(item)
        if call.excinfo is not None and reports:
            from pytest_loopsafe._run.tracebacks import hide_between  # only when used

            hide_between(call.excinfo.value)
        report = yield
        if not reports or (call.when == "setup" and report.passed):  # the call will tell it
            return report
        from pytest_loopsafe._report.rendering import Detail, render_report
        from pytest_loopsafe._report.report import LoopSafetyError

        detail = Detail(max(-1, min(1, terminal.verbosity(item.config))))
        text = None
        excinfo: Any = call.excinfo
        unsafe = excinfo is not None and isinstance(excinfo.value, LoopSafetyError)
        if unsafe and report.failed:
            text = render_report(excinfo.value.report, detail)
            report.longrepr = terminal.as_longrepr(excinfo, text, item)
        if item is self._called:
            return report
        data = self._session.news_of(item, call.when, report)
        if data is not None:
            if data["findings"] and text is None and (report.failed or not unsafe):
                report.sections += [
                    ("loopsafe", render_report(one, detail).plain())
                    for one in reports
                    if one.findings
                ]
            # Plain data under a name of ours travels with the report, from xdist's workers too.
            shown = text and text.to_json()
            report.loopsafe = {**data, "text": shown}  # type: ignore[attr-defined]
            self._tell_properties(item, report, data)
        if call.when == "call":
            self._session.let_go(item)
        elif call.when == "teardown":
            self._session.forget(item)
        return report

    def _tell_properties(
        self, item: pytest.Item, report: pytest.TestReport, data: dict[str, Any]
    ) -> None:
        """A property for each finding, in JUnit's XML and for whoever else reads them.

        JUnit's is written from the report of the teardown, which has the item's.
        """
        from pytest_loopsafe._report.rendering import headline
        from pytest_loopsafe._report.text import printable

        if not data["findings"] and not item.user_properties:
            return  # most tests
        found: list[tuple[str, object]] = [
            (
                _PROPERTY,
                headline(finding) + (f" ({printable(finding.owner)})" if finding.owner else ""),
            )
            for one in self._session.reports_of(item)
            for finding in one.findings
        ]
        kept = [one for one in item.user_properties if one[0] != _PROPERTY]  # a rerun has its own
        item.user_properties[:] = report.user_properties[:] = [*kept, *found]
