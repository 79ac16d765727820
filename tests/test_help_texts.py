"""pytest's own help pages explain the plugin, and loading it is silent."""

import inspect
import re

import pytest

from pytest_loopsafe._words.settings import SCHEDULES, Settings

INI_OPTIONS = ("loops", "schedule", "timeout", "strict", "ignore", "own")
OWN_CODE = "loopsafe: your code is what no distribution has installed"


def test_markers_shows_each_argument_with_its_default(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--markers")

    (line,) = [one for one in result.outlines if one.startswith("@pytest.mark.multi_loop")]
    shown = line[line.index("(") : line.index("):")].replace('"', "'")
    for name, parameter in inspect.signature(Settings.checked).parameters.items():
        assert f"{name}={parameter.default!r}" in shown
    assert "swallows" in line


def test_fixtures_shows_what_each_fixture_gives(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--fixtures")

    for name, words in (
        ("loopsafe_runner", "over several event loops"),
        ("loopsafe_redis", "URL of an empty Redis"),
    ):
        result.stdout.fnmatch_lines([f"{name} -- *", f"*{words}*"], consecutive=True)


def test_help_shows_each_option(pytester: pytest.Pytester) -> None:
    text = re.sub(r"\s+", " ", pytester.runpytest_inprocess("--help").stdout.str())

    assert "event-loop-affinity bugs (pytest-loopsafe)" in text
    assert "--loopsafe watch every test" in text
    assert "--loopsafe-loops=N watch every test, and run each that makes an event" in text
    assert "--loopsafe-json=PATH write what was found" in text
    assert "--loopsafe-html=PATH write it to this file" in text
    assert "--loopsafe-baseline=FILE what this file has is known" in text
    assert "--loopsafe-update-baseline write what is found" in text


def test_help_shows_each_ini_option_with_its_default(pytester: pytest.Pytester) -> None:
    text = re.sub(r"\s+", " ", pytester.runpytest_inprocess("--help").stdout.str())

    for name in INI_OPTIONS:
        assert f"loopsafe_{name} (" in text
    for schedule in SCHEDULES:
        assert schedule in text
    defaults = Settings()
    assert f"({defaults.loops})" in text
    assert f"({defaults.schedule})" in text
    assert f"({defaults.timeout:g})" in text


@pytest.mark.parametrize(
    ("arguments", "header"),
    [
        ((), []),
        (("--loopsafe",), ["loopsafe: every test is watched", OWN_CODE]),
        (
            ("--loopsafe", "--loopsafe-loops=4"),
            ["loopsafe: every test is watched, each that makes a loop over 4 loops", OWN_CODE],
        ),
    ],
    ids=["plain", "audit", "audit over loops"],
)
def test_the_header_speaks_of_an_audit_and_of_nothing_else(
    pytester: pytest.Pytester, arguments: tuple[str, ...], header: list[str]
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.multi_loop
        async def test_order():
            pass
        """
    )

    result = pytester.runpytest_inprocess(*arguments)

    lines = [line for line in result.outlines if line.startswith("loopsafe")]
    lines = [line.partition(", and ")[0].partition("; loopsafe_own: ")[0] for line in lines]
    assert lines == header  # without what this process claims beside it


def test_it_is_silent_where_warnings_are_errors_and_everything_is_strict(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.multi_loop(2)
        async def test_async():
            await asyncio.sleep(0)

        @pytest.mark.multi_loop(2)
        def test_sync():
            asyncio.run(asyncio.sleep(0))

        def test_fixture(loopsafe_runner, loopsafe_redis):
            loopsafe_runner.run(asyncio.sleep, 0)

        def test_plain():
            pass
        """
    )

    result = pytester.runpytest_subprocess(
        "--strict-markers", "--strict-config", "-W", "error", "--loopsafe"
    )

    result.assert_outcomes(passed=4, warnings=0)
    assert result.ret == pytest.ExitCode.OK
    assert result.stderr.str().strip() == ""


def test_a_mistyped_marker_is_pytests_own_error_under_strict_markers(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.multiloop
        async def test_order():
            pass
        """
    )

    result = pytester.runpytest_inprocess("--strict-markers")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*'multiloop' not found in `markers`*"])
