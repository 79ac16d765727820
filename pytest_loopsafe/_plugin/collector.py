"""What the tests' reports carry, collected in the process that talks to the user."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_loopsafe._plugin import json_file, terminal


class LoopsafeCollector:
    """Collects what the tests' reports carry, in the process that talks to the user.

    Args:
        config: pytest's.
        json_path: the file that the user wants.
        say: where to write when nobody else tells what was found.
    """

    def __init__(
        self, config: pytest.Config, json_path: Path | None, say: Callable[[str], None]
    ) -> None:
        self._config = config
        self._json_path = json_path
        self._say = say
        self._tests: list[dict[str, Any]] = []
        self._written = json_path is None
        self._fault: str | None = None
        self._is_told = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a watched test's findings from its report."""
        found = getattr(report, "loopsafe", None)
        if found is not None:
            self.take(found)

    def take(self, test: dict[str, Any]) -> None:
        """Keep what was found in one test."""
        self._tests.append(test)

    def pytest_report_teststatus(
        self, report: pytest.TestReport | pytest.CollectReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Mark a test that failed only for what was found: ``L``, LOOP UNSAFE."""
        found = getattr(report, "loopsafe", None)
        if found is not None and found["unsafe"]:
            return "failed", "L", ("LOOP UNSAFE", {"red": True})
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The section ``loopsafe report``."""
        self._is_told = True
        terminal.summarize(terminalreporter, self._tests, self._fault)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the JSON file, also when the session was interrupted; before the summary.

        A file that cannot be written makes the exit code 1 where it would be 0, as that of
        ``--junitxml`` does; but here it ends nothing else.
        """
        try:
            return (yield)
        finally:
            self.write()
            if self._fault is not None and session.exitstatus == pytest.ExitCode.OK:
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
        """Write the JSON file, once."""
        if self._json_path is None or self._written:
            return
        self._written = True
        tests = [
            {key: value for key, value in test.items() if key != "unsafe"} for test in self._tests
        ]
        fault = json_file.write(self._json_path, tests)
        if fault is not None:
            self._fault = f"--loopsafe-json={self._json_path}: not written: {fault}"

    def told(self) -> list[str]:
        """What was found so far, in lines; without a terminal only what is wrong with the file."""
        wanted = self._config.pluginmanager.hasplugin("terminalreporter")
        return [
            line
            for line, _ in terminal.lines_of(self._tests if wanted else [], self._fault, level=1)
        ]
