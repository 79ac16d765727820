"""In GitHub Actions each cause is an annotation at its line, and a row in the run's summary."""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pytest_loopsafe._report import github
from pytest_loopsafe._report.alerts import Alert, Place

COMMAND = re.compile(r"^\s*::(error|warning) ?(.*?)::(.*)$")

TESTS = """
    import pytest
    import app

    @pytest.fixture(autouse=True)
    def no_connection():
        app.connection = None

    @pytest.mark.multi_loop
    @pytest.mark.parametrize("number", range(2))
    async def test_publish(number):
        await app.publish()

    @pytest.mark.multi_loop
    def test_leaves_something_open():
        app.leave_open()
"""


class Annotation(NamedTuple):
    severity: str
    properties: dict[str, str]
    message: str


def read(lines: list[str]) -> list[Annotation]:
    """The annotations in what is printed, as the runner reads them."""

    def unescaped(text: str, *more: str) -> str:
        for code in ("%0D", "%0A", *more, "%25"):
            text = text.replace(code, chr(int(code[1:], 16)))
        return text

    found = []
    for line in lines:
        match = COMMAND.match(line)
        if match is not None:
            pairs = (one.split("=", 1) for one in match[2].split(","))
            properties = {key: unescaped(value, "%3A", "%2C") for key, value in pairs}
            found.append(Annotation(match[1], properties, unescaped(match[3])))
    return found


@pytest.fixture
def runner(app: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A step of GitHub's runner, with a file for its summary."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(app.path / "summary.md"))
    app.makepyfile(test_shop=TESTS)
    return app


def run(runner: pytest.Pytester, *arguments: str) -> list[Annotation]:
    return read(runner.runpytest_inprocess("-p", "no:cacheprovider", *arguments).outlines)


def line_of(path: Path, text: str) -> str:
    return str(next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line))


@pytest.mark.parametrize("arguments", [(), ("-q",), ("-qq",)])
def test_each_cause_is_an_annotation_at_its_line(
    runner: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    error, warning = run(runner, *arguments)

    assert error.severity == "error"
    assert error.properties == {
        "file": "app.py",
        "line": line_of(runner.path / "app.py", "await connection"),
        "title": "LS101 cross-loop-await",
    }
    headline, remedy = error.message.split("\n")
    assert headline == "app.connection (Future) belongs to loop 1 and is used in loop 2"
    assert remedy.startswith("Make what it belongs to")
    assert (warning.severity, warning.properties["title"]) == (
        "warning",
        "LS303 transport-left-open",
    )


def test_the_workers_of_xdist_print_none_of_their_own(runner: pytest.Pytester) -> None:
    result = runner.runpytest_subprocess("-n2", "-p", "no:cacheprovider")

    assert [one.severity for one in read(result.outlines)] == ["error", "warning"]
    assert (runner.path / "summary.md").read_text().count("###") == 1


def test_a_row_of_the_summary_for_each_cause(runner: pytest.Pytester) -> None:
    (runner.path / "summary.md").write_text("what an earlier step has said\n")

    run(runner)

    first, *lines = (runner.path / "summary.md").read_text().splitlines()
    assert first == "what an earlier step has said"
    assert lines[0] == "### loopsafe: 1 error and 1 warning in 3 tests over 9 loops"
    assert lines[4].startswith("| error | [LS101](https://")
    assert lines[4].endswith(f"| app.py:{line_of(runner.path / 'app.py', 'await conn')} | 2 |")
    assert lines[5].startswith("| warning | [LS303](https://")


def test_where_nothing_is_found_the_summary_says_so(runner: pytest.Pytester) -> None:
    assert run(runner, "-k", "number and not publish") == []
    assert not (runner.path / "summary.md").exists()

    runner.makepyfile(
        test_shop="""
        import pytest, app

        @pytest.mark.multi_loop
        async def test_greet():
            await app.greet()
        """
    )
    assert run(runner) == []

    text = (runner.path / "summary.md").read_text()
    assert text == "### loopsafe: nothing found in 1 test over 3 loops\n\n"


@pytest.mark.parametrize(
    ("variable", "choice", "shown"),
    [
        ("true", "auto", True),
        ("true", "none", False),
        ("false", "auto", False),
        ("", "auto", False),
        ("", "github", True),
    ],
)
def test_the_option_has_the_last_word(
    runner: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    choice: str,
    shown: bool,
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", variable)

    assert bool(run(runner, f"--loopsafe-annotations={choice}")) is shown

    assert (runner.path / "summary.md").exists() is shown


def test_a_summary_that_cannot_be_written_is_a_line_and_no_failure(
    runner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(runner.path / "missing" / "summary.md"))

    result = runner.runpytest_inprocess("-k", "open")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["GITHUB_STEP_SUMMARY=*: not written: No such file or directory"])


# -- what the runner takes -----------------------------------------------------------------------


def alert(number: int = 1, severity: str = "error", **more: Any) -> Alert:
    data: dict[str, Any] = {
        "code": "LS101", "slug": "cross-loop-await", "url": "https://example.org/LS101.html",
        "severity": severity, "headline": f"headline {number}", "remedy": "remedy", "owner": None,
        "place": Place("app.py", number, inside=True), "related": [], "stacks": [],
        "codes": ["LS101"], "tests": ["t"],
    }  # fmt: skip
    return Alert(**(data | more))


@pytest.mark.parametrize(
    ("errors", "warnings", "more"),
    [
        (10, 10, None),
        (11, 3, "1 more error"),
        (3, 12, "2 more warnings"),
        (30, 11, "20 more errors and 1 more warning"),
    ],
)
def test_no_more_than_ten_of_each_and_how_many_there_are_else(
    errors: int, warnings: int, more: str | None
) -> None:
    alerts = [alert(n) for n in range(errors)] + [alert(n, "warning") for n in range(warnings)]

    lines = list(github.annotated(alerts))

    severities = [one.severity for one in read(lines)]
    assert severities.count("error") == min(10, errors)
    assert severities.count("warning") == min(10, warnings)
    assert [line for line in lines if not line.startswith("::")] == (
        [f"loopsafe: {more} without an annotation: GitHub takes 10 of each"] if more else []
    )


@pytest.mark.parametrize(
    "text", ["100% of it", "a,b:c", "::error::x", "%0A%25", "title=x,line=1", "déjà vu 東京"]
)
def test_text_arrives_as_it_was(text: str) -> None:
    lines = list(
        github.annotated(
            [alert(slug=text, headline=text, remedy=text, place=Place(text, 1, inside=True))]
        )
    )

    (one,) = read(lines)
    assert len(lines) == 1
    assert one.message == f"{text}\n{text}"
    assert one.properties == {"file": text, "line": "1", "title": f"LS101 {text}"}


def test_no_text_of_the_code_is_a_command_of_its_own() -> None:
    text = "x\n::stop-commands::y\r::error::z\x1b[2J"

    (line,) = github.annotated([alert(headline=text, place=Place(text, 1, inside=True))])

    assert line.isprintable()
    assert line.count("::") == 4 + 2  # those of the headline stay in their line
    assert len(read([line])) == 1


@pytest.mark.parametrize(
    ("place", "properties", "start"),
    [
        (Place("/opt/lib.py", 7, inside=False), {}, "/opt/lib.py:7: headline"),
        (Place("test_a.py", None, inside=True), {"file": "test_a.py"}, "headline"),
        (None, {}, "headline"),
    ],
)
def test_what_is_not_in_the_repository_is_named_in_the_text(
    place: Place | None, properties: dict[str, str], start: str
) -> None:
    (one,) = read(list(github.annotated([alert(place=place)])))

    assert one.properties == {**properties, "title": "LS101 cross-loop-await"}
    assert one.message.startswith(start)


def test_the_summary_is_a_table_whatever_is_in_it() -> None:
    text = "a | b\n<img src=x> [x](y) `c` **d** &amp; #1 @all"

    lines = github.summary([alert(headline=text, place=Place(text, 1, inside=True))], 1, 1)

    (row,) = [one for one in lines.splitlines() if one.startswith("| error")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 6
    assert not re.search(r"(?<!\\)[<`*@]|(?<!\\)\]\(y", row)
    assert "&lt;img" in row


def test_the_summary_is_short() -> None:
    text = github.summary([alert(n) for n in range(1_000)], 1_000, 3_000)

    assert len(text.splitlines()) < 30
    assert "And 980 more." in text


def test_a_fifo_in_the_summarys_place_is_not_waited_for(
    runner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_loopsafe._report import files

    if not hasattr(os, "mkfifo"):
        pytest.skip("needs FIFOs")
    monkeypatch.setattr(files, "_PATIENCE", 0.1)
    os.mkfifo(runner.path / "summary.md")

    result = runner.runpytest_inprocess("-k", "open")

    result.stdout.fnmatch_lines(["GITHUB_STEP_SUMMARY=*: not written: nobody reads it"])
