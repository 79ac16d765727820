"""Findings on pytest's terminal: the failing test's text, and the summary at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from pytest_loopsafe._report.report import LoopSafetyError
    from pytest_loopsafe._report.text import Text


def as_longrepr(
    raised: pytest.ExceptionInfo[LoopSafetyError], text: Text, item: pytest.Item
) -> Any:
    """The findings in the place of a traceback, in pytest's own classes.

    IDEs, JUnit, annotations on GitHub, ``--tb=line`` and pytest-xdist look into these for the place
    and the headline. They are not public, but what makes them is; so one is made of the exception,
    and says what the findings say: one entry, which ends where the first error was seen.
    """
    import dataclasses

    from pytest_loopsafe._report.rendering import headline  # only when used
    from pytest_loopsafe._report.text import printable

    errors = raised.value.report.errors
    made: Any = raised.getrepr(style="value", chain=False, tbfilter=False)
    site = next((one.site for one in errors if one.site and not one.site.library), None)
    path, line = (site.file, site.line) if site else (item.path, (item.location[1] or 0) + 1)
    crash = made.reprcrash and dataclasses.replace(
        made.reprcrash,
        path=printable(str(path)),
        lineno=line,
        message="; ".join(map(headline, errors)),
    )
    entry = dataclasses.replace(
        made.reprtraceback.reprentries[-1], lines=text.plain().split("\n"), reprfileloc=crash
    )
    traceback = dataclasses.replace(made.reprtraceback, reprentries=[entry])
    longrepr = type(made)([(traceback, crash, None)])
    return coloured(longrepr, text.to_json(), live=is_live(item.config))


def is_live(config: pytest.Config) -> bool:
    """Whether pytest writes to a terminal, and not to a file or the log of a CI."""
    return bool(getattr(config.pluginmanager.getplugin("terminalreporter"), "isatty", False))


def coloured(longrepr: Any, lines: Any, *, live: bool) -> Any:
    """Have pytest's terminal writer show these lines, in colour where that has colour.

    Args:
        longrepr: of `as_longrepr`, or what has become of it on its way from another process.
        lines: of `Text.to_json`.
        live: whether to wrap them, as `is_live` has it.
    """

    def write(writer: Any) -> None:
        from pytest_loopsafe._report.text import wrapped  # only when used

        for line in lines:
            for row in wrapped(line, writer.fullwidth) if live else (line,):
                for text, markup in row:
                    writer.write(text, **dict.fromkeys(markup, True))
                writer.line()
        for name, content, separator in longrepr.sections:  # what other plugins have added
            writer.sep(separator, name)
            writer.line(content)

    longrepr.toterminal = write
    return longrepr


def verbosity(config: pytest.Config) -> int:
    """How often ``-v`` was given, less how often ``-q``; 0 without a terminal."""
    return int(getattr(config.option, "verbose", 0))


def summarize(
    reporter: pytest.TerminalReporter,
    tests: list[dict[str, Any]],
    faults: list[str],
    baseline: list[str],
) -> None:
    """The section at the end: how often each rule was met, and what did not fail a test.

    With ``-q`` there is no section, but a line for what nothing else tells of.
    """
    level = verbosity(reporter.config)
    lines = lines_of(tests, faults, baseline, level=level)
    if lines and level >= 0:
        reporter.section("loopsafe report")
    for line, markup in lines:
        reporter.write_line(line, **markup)


def lines_of(
    tests: list[dict[str, Any]], faults: list[str], baseline: list[str], *, level: int
) -> list[tuple[str, dict[str, bool]]]:
    """The section's lines, each with its colour.

    Args:
        tests: what was found in each test.
        faults: what is wrong with the files.
        baseline: what became of what is known.
        level: above 0: all findings are listed; below: in a line, those that fail no test.
    """
    from pytest_loopsafe._report.text import printable  # only when it is used

    findings = [(test, finding) for test in tests for finding in test["findings"]]
    lines: list[tuple[str, dict[str, bool]]]
    if level >= 0:
        lines = [*_counts(findings), *((line, {}) for line in baseline)]
        lines += [
            (f"  {test['nodeid']}: {finding['code']}: {finding['message']}", {})
            for test, finding in findings
            if level > 0 or _fails_nothing(test, finding)
        ]
    else:
        quiet = [*_quiet_line(findings), *baseline[:1]]
        lines = [(f"loopsafe: {line}", {"yellow": True}) for line in quiet if level == -1]
    lines += [(fault, {"red": True}) for fault in faults]
    return [(printable(line), markup) for line, markup in lines]


def _counts(findings: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Any]:
    rules: Counter[tuple[str, str, str]] = Counter(
        (finding["severity"], finding["code"], finding["slug"]) for _, finding in findings
    )
    for (severity, code, slug), number in sorted(rules.items()):
        in_tests = len({test["nodeid"] for test, one in findings if one["code"] == code})
        colour = {"red" if severity == "error" else "yellow": True}
        line = f"{code} {slug:<22} {number} {severity}{'s' if number > 1 else ''}"
        yield f"{line} in {in_tests} {'test' if in_tests == 1 else 'tests'}", colour


def _fails_nothing(test: dict[str, Any], finding: dict[str, Any]) -> bool:
    """Whether nothing else tells of a finding: a rerun is not shown, and then the test may pass."""
    return bool(finding["severity"] == "warning" or test["outcome"] == "rerun")


def _quiet_line(findings: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[str]:
    from pytest_loopsafe._report.text import count

    for severity, more in (("warning", ""), ("error", " that came in no later run of the test")):
        quiet = [
            (test["nodeid"], one["code"])
            for test, one in findings
            if one["severity"] == severity and _fails_nothing(test, one)
        ]
        if quiet:
            tests, codes = map(set, zip(*quiet, strict=True))
            yield (
                f"{count(len(quiet), severity)} in {count(len(tests), 'test')} "
                f"({', '.join(sorted(codes))}){more}"
            )
