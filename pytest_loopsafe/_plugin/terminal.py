"""Findings on pytest's terminal: the failing test's text, and the summary at the end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from pytest_loopsafe._report.rendering import Text
    from pytest_loopsafe._report.report import LoopReport


class _Crash:
    """What pytest's one-line summary reads: where, and what."""

    def __init__(self, path: str, lineno: int, message: str) -> None:
        self.path = path
        self.lineno = lineno
        self.message = message

    def __str__(self) -> str:
        return f"{self.path}:{self.lineno}: {self.message}"


class UnsafeRepr:
    """Stands in a test report where an exception's traceback would: the findings, in colour."""

    def __init__(self, text: Text, report: LoopReport) -> None:
        from pytest_loopsafe._report.rendering import headline, printable  # only when used

        self._text = text
        site = next((finding.site for finding in report.errors if finding.site), None)
        message = "; ".join(headline(finding) for finding in report.errors)
        file = printable(site.file) if site else ""
        self.reprcrash = _Crash(file, site.line if site else 0, message)

    def toterminal(self, writer: Any) -> None:
        """Write with pytest's own terminal writer, in colour where that has colour."""
        for line in self._text.lines:
            for span in line:
                writer.write(span.text, **dict.fromkeys(span.markup, True))
            writer.line()

    def __str__(self) -> str:
        return self._text.plain()


def verbosity(config: pytest.Config) -> int:
    """How often ``-v`` was given, less how often ``-q``; 0 without a terminal."""
    return int(getattr(config.option, "verbose", 0))


def summarize(
    reporter: pytest.TerminalReporter, tests: list[dict[str, Any]], fault: str | None
) -> None:
    """The section at the end: how often each rule was met, and what did not fail a test."""
    level = verbosity(reporter.config)
    lines = lines_of(tests if level >= 0 else [], fault, level=level)
    if lines:
        reporter.section("loopsafe report")
    for line, markup in lines:
        reporter.write_line(line, **markup)


def lines_of(
    tests: list[dict[str, Any]], fault: str | None, *, level: int
) -> list[tuple[str, dict[str, bool]]]:
    """The section's lines, each with its colour.

    Args:
        tests: what was found in each test.
        fault: what is wrong with the JSON file.
        level: above 0: all findings are listed.
    """
    from pytest_loopsafe._report.rendering import printable  # only when it is used

    findings = [(test, finding) for test in tests for finding in test["findings"]]
    rules: Counter[tuple[str, str, str]] = Counter(
        (finding["severity"], finding["code"], finding["slug"]) for _, finding in findings
    )
    lines: list[tuple[str, dict[str, bool]]] = []
    for (severity, code, slug), number in sorted(rules.items()):
        in_tests = len({test["nodeid"] for test, one in findings if one["code"] == code})
        colour = {"red" if severity == "error" else "yellow": True}
        line = f"{code} {slug:<22} {number} {severity}{'s' if number > 1 else ''}"
        tests_word = "test" if in_tests == 1 else "tests"
        lines.append((f"{line} in {in_tests} {tests_word}", colour))
    for test, finding in findings:
        if finding["severity"] == "warning" or level > 0:
            lines.append((f"  {test['nodeid']}: {finding['code']}: {finding['message']}", {}))
    if fault is not None:
        lines.append((fault, {"red": True}))
    return [(printable(line), markup) for line, markup in lines]
