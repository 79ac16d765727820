"""What the tests' reports carry, collected in the process that talks to the user."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from pytest_loopsafe._plugin import audit_counts, github, terminal
from pytest_loopsafe._plugin.baseline import Baseline, without_repeats
from pytest_loopsafe._plugin.outputs import Output


class LoopsafeCollector:
    """Collects what the tests' reports carry, in the process that talks to the user.

    Args:
        config: pytest's.
        outputs: the files that the user wants.
        baseline: what is known already, if the user has such a file.
        say: where to write when nobody else tells what was found.
    """

    def __init__(
        self,
        config: pytest.Config,
        outputs: tuple[Output, ...],
        baseline: Baseline | None,
        say: Callable[[str], None],
    ) -> None:
        self._config = config
        self._outputs = outputs
        self._baseline = baseline
        self._say = say
        self._tests: list[dict[str, Any]] = []
        self._tellers: list[object] = []  # of each of these: which of pytest-xdist's workers
        self._written = False
        self._faults: list[str] = []
        self._is_told = False

    @pytest.hookimpl(wrapper=True)
    def pytest_report_from_serializable(self) -> Generator[None, Any, Any]:
        """Give the findings of pytest-xdist's workers their colours back."""
        report = yield
        text = (getattr(report, "loopsafe", None) or {}).get("text")
        if text is not None:
            terminal.coloured(report.longrepr, text, live=terminal.is_live(self._config))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a watched test's findings from its report."""
        found = getattr(report, "loopsafe", None)
        if found is not None:
            rerun = report.outcome not in ("passed", "failed", "skipped")  # pytest-rerunfailures
            told = {**found, "outcome": report.outcome} if rerun else found
            self.take(told, getattr(report, "node", None))

    def take(self, test: dict[str, Any], teller: object = None) -> None:
        """Keep what was found in one test, in the place of what was told of it before.

        Args:
            test: what was found.
            teller: the worker that ran it: each of them runs all tests with ``--dist=each``.
        """
        kept = {key: value for key, value in test.items() if key not in ("again", "text")}
        places = range(len(self._tests) - 1, -1, -1) if test.get("again") else ()
        for at in places:
            before = self._tests[at]
            if before["nodeid"] == test["nodeid"] and self._tellers[at] is teller:
                if before["outcome"] == "rerun":  # which its teardown does not know of
                    kept["outcome"] = "rerun"
                self._tests[at] = kept
                return
        self._tests.append(kept)
        self._tellers.append(teller)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker of pytest-xdist found after its last test's report."""
        for found in getattr(node, "workeroutput", {}).get("loopsafe", ()):
            self.take(found, node)

    @pytest.hookimpl(tryfirst=True)  # before pytest counts a subtest
    def pytest_report_teststatus(
        self, report: pytest.TestReport | pytest.CollectReport
    ) -> tuple[str, str, str] | None:
        """Mark a test that failed only for what was found: ``L``, LOOP UNSAFE.

        Without a colour of its own, which pytest's summary shows as text before 8.3.
        """
        if getattr(report, "loopsafe_again", False):
            return "", "", ""  # a subtest that was told of in an earlier run of its test
        found = getattr(report, "loopsafe", None)
        if report.failed and found is not None and found["text"] is not None:
            return "failed" if report.when == "call" else "error", "L", "LOOP UNSAFE"
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The section ``loopsafe report``."""
        self._is_told = True
        tests = without_repeats(self._tests)
        terminal.summarize(terminalreporter, tests, self._faults, self._more_lines())
        for line in github.lines_for_runner(self._config, self._tests):
            terminalreporter.write_line(line)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the files, also when the session was interrupted; before the summary.

        A file that cannot be written makes the exit code 1 where it would be 0, as that of
        ``--junitxml`` does; but here it ends nothing else.
        """
        try:
            return (yield)
        finally:
            self.write()
            if self._faults and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_unconfigure(self) -> None:
        """Tell what nobody has told: a session that breaks at its end has no summary."""
        if self._tests:
            self.write()
        if not self._is_told:
            lines = self.told()
            if lines:
                self._say("\n".join(lines))

    def write(self) -> None:
        """Write the files and the baseline, once."""
        if self._written:
            return
        self._written = True
        if self._outputs:
            from pytest_loopsafe._report.document import whole  # only when used

            document = whole(self._tests, self._counts())
            faults = [one.write(document) for one in self._outputs]
            self._faults += [fault for fault in faults if fault is not None]
        if self._baseline is not None:
            fault = self._baseline.write(self._tests)
            self._faults += [fault] if fault is not None else []

    def told(self) -> list[str]:
        """What was found so far, in lines; without a terminal only what is wrong with the files."""
        wanted = self._config.pluginmanager.hasplugin("terminalreporter")
        tests = without_repeats(self._tests) if wanted else []
        more = self._more_lines() if wanted else []
        return [line for line, _ in terminal.lines_of(tests, self._faults, more, level=1)]

    def _more_lines(self) -> list[str]:
        """What became of what is known; and what an audit has covered, but with ``-q``."""
        known = self._baseline.told(self._tests) if self._baseline is not None else []
        quiet = terminal.verbosity(self._config) < 0
        return [*known, *audit_counts.lines_of(None if quiet else self._counts())]

    def _counts(self) -> dict[str, Any] | None:
        return audit_counts.counted(self._tests, self._config.getoption("loopsafe_loops"))
