"""The ini options: what each one does, and that a wrong value is a usage error that names it."""

import pytest

import pytest_loopsafe
from pytest_loopsafe._rules import rules
from pytest_loopsafe._words.rules import codes

USAGE_ERROR = pytest.ExitCode.USAGE_ERROR

FORMATS = ("pytest.ini", "ini_options", "native")


def write_settings(pytester: pytest.Pytester, kind: str, name: str, ini: str, native: str) -> None:
    """Put one setting into the configuration file of this kind."""
    if kind == "pytest.ini":
        pytester.makeini(f"[pytest]\nloopsafe_{name} = {ini}\n")
    elif kind == "ini_options":
        quoted = f"'''{ini}'''"
        pytester.makepyprojecttoml(f"[tool.pytest.ini_options]\nloopsafe_{name} = {quoted}\n")
    else:
        if pytest.version_tuple < (9, 0):
            pytest.skip("native TOML settings came with pytest 9.0")
        pytester.makepyprojecttoml(f"[tool.pytest]\nloopsafe_{name} = {native}\n")


in_every_format = pytest.mark.parametrize("kind", FORMATS)


# -- what each option does ---------------------------------------------------------------------


@in_every_format
def test_loops_is_how_many_loops_a_test_runs_in(pytester: pytest.Pytester, kind: str) -> None:
    write_settings(pytester, kind, "loops", "5", "5")
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        calls = {"default": 0, "own": 0, "fixture": 0}

        @pytest.mark.multi_loop
        async def test_default():
            calls["default"] += 1

        @pytest.mark.multi_loop(2)
        async def test_own():
            calls["own"] += 1

        def test_fixture(loopsafe_runner):
            async def call():
                calls["fixture"] += 1

            assert len(loopsafe_runner.run(call).loops) == 5
            assert len(loopsafe_runner.run(call, loops=1).loops) == 1

        def test_calls():
            assert calls == {"default": 5, "own": 2, "fixture": 6}
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=4)


@in_every_format
def test_schedule_is_how_the_loops_follow_one_another(pytester: pytest.Pytester, kind: str) -> None:
    write_settings(pytester, kind, "schedule", "persistent", "'persistent'")
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        loops = set()

        @pytest.mark.multi_loop
        async def test_default():
            loops.add(asyncio.get_running_loop())

        def test_fixture(loopsafe_runner):
            async def call():
                return asyncio.get_running_loop()

            assert len(set(loopsafe_runner.run(call).results)) == 1
            assert len(set(loopsafe_runner.run(call, schedule="consecutive").results)) == 3

        def test_one_loop_was_used():
            assert len(loops) == 1
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=3)


@in_every_format
@pytest.mark.parametrize(("ini", "native"), [("0.1", "0.1"), (" .1 ", "1e-1")])
def test_timeout_is_how_long_one_pass_may_take(
    pytester: pytest.Pytester, kind: str, ini: str, native: str
) -> None:
    write_settings(pytester, kind, "timeout", ini, native)
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.multi_loop
        async def test_waits_for_ever():
            await asyncio.get_running_loop().create_future()
        """
    )

    result = pytester.runpytest_inprocess()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*did not finish in 0.1 s*", "*LS106*"])


@in_every_format
def test_a_whole_number_of_seconds_is_a_timeout(pytester: pytest.Pytester, kind: str) -> None:
    write_settings(pytester, kind, "timeout", "7", "7.0")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.multi_loop
        async def test_order():
            pass
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=1)


@in_every_format
@pytest.mark.parametrize(
    ("ini", "native", "outcome"), [("true", "true", "failed"), ("false", "false", "passed")]
)
def test_strict_says_whether_warnings_are_errors(
    app: pytest.Pytester, kind: str, ini: str, native: str, outcome: str
) -> None:
    write_settings(app, kind, "strict", ini, native)
    app.makepyfile(
        test_shop="""
        import pytest
        import app

        @pytest.mark.multi_loop
        def test_leaves_something_open():
            app.leave_open()
        """
    )

    app.runpytest_inprocess().assert_outcomes(**{outcome: 1})


@in_every_format
@pytest.mark.parametrize(
    ("ini", "native"),
    [
        ("LS101", "['LS101']"),
        ("LS1", "['LS1']"),
        ("\n  LS206\n  LS101\n", "['LS206', 'LS101']"),
    ],
    ids=["code", "family", "several"],
)
def test_ignore_leaves_rules_out(app: pytest.Pytester, kind: str, ini: str, native: str) -> None:
    write_settings(app, kind, "ignore", ini, native)
    app.makepyfile(
        test_shop="""
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_publish():
            await app.publish()
        """
    )

    result = app.runpytest_inprocess()

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*LS101*")


def test_ignore_is_added_to_by_a_test_and_not_replaced(app: pytest.Pytester) -> None:
    app.makeini("[pytest]\nloopsafe_ignore = LS101\n")
    app.makepyfile(
        test_shop="""
        import pytest
        import app

        @pytest.mark.multi_loop(ignore="LS206")
        async def test_marked():
            await app.publish()

        def test_fixture(loopsafe_runner):
            assert not loopsafe_runner.run(app.publish, ignore=["LS206"]).findings
        """
    )

    app.runpytest_inprocess().assert_outcomes(passed=2)


def test_ignore_says_in_which_tests(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        """
        [pytest]
        pythonpath = .
        loopsafe_ignore =
            LS102@test_shop.py::TestMorning
            LS1:shop.qu*@*::test_fixture
            LS102:shop.other*@test_shop.py
            LS@old/
        """
    )
    pytester.makepyfile(
        shop="""
        import asyncio

        queue = asyncio.Queue()

        async def take():
            try:
                await asyncio.wait_for(queue.get(), 0.001)
            except (TimeoutError, RuntimeError):
                pass
        """,
        test_shop="""
        import pytest
        import shop

        class TestMorning:
            @pytest.mark.multi_loop
            async def test_take(self):
                await shop.take()

        def test_fixture(loopsafe_runner):
            loopsafe_runner.run(shop.take)

        @pytest.mark.multi_loop
        async def test_take():
            await shop.take()
        """,
    )
    pytester.mkpydir("old").joinpath("test_old.py").write_text(
        "import asyncio, shop\ndef test_old():\n" + "    asyncio.run(shop.take())\n" * 2
    )

    result = pytester.runpytest_inprocess("--loopsafe", "-rfp")

    result.assert_outcomes(failed=1, passed=3)
    result.stdout.fnmatch_lines(["LOOP UNSAFE test_shop.py::test_take*"])


def test_a_test_names_no_tests_to_ignore_in() -> None:
    with pytest.raises(pytest_loopsafe.SettingsError, match="only the ini option loopsafe_ignore"):
        pytest_loopsafe.run(int, ignore="LS206@tests/legacy")


def test_the_codes_to_ignore_are_those_of_all_rules() -> None:
    assert codes() == {rule.code for rule in rules()}


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ("loopsafe_ignore = LS206", ""),
        ("loopsafe_ignore = LS101:somebody.else.*", ""),
        ("loopsafe_strict = true", "strict=False, ignore='LS3'"),
    ],
)
def test_what_is_not_ignored_still_fails(
    app: pytest.Pytester, settings: str, arguments: str
) -> None:
    app.makeini(f"[pytest]\n{settings}\n")
    app.makepyfile(
        test_shop=f"""
        import pytest
        import app

        @pytest.mark.multi_loop({arguments})
        async def test_publish():
            await app.publish()
        """
    )

    app.runpytest_inprocess().assert_outcomes(failed=1)


def test_the_command_line_overrides_the_file(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nloopsafe_loops = 5\n")
    pytester.makepyfile(
        """
        import pytest

        calls = []

        @pytest.mark.multi_loop
        async def test_order():
            calls.append(1)

        def test_calls():
            assert len(calls) == 2
        """
    )

    pytester.runpytest_inprocess("-o", "loopsafe_loops=2").assert_outcomes(passed=2)


# -- wrong values ------------------------------------------------------------------------------

WRONG = {
    # name and value in an ini file: the same in native TOML, and what has to be said of it
    ("loops", "0"): ("0", "1 or more"),
    ("loops", "-1"): ("-1", "1 or more"),
    ("loops", "many"): ("'many'", "int"),
    ("loops", "2.5"): ("2.5", "int"),
    ("schedule", "sideways"): ("'sideways'", "consecutive"),
    ("schedule", "recycle"): ("'recycle'", "did you mean 'recycled'?"),
    ("timeout", "0"): ("0.0", "more than 0"),
    ("timeout", "-1"): ("-1.0", "more than 0"),
    ("timeout", "nan"): ("nan", "more than 0"),
    ("timeout", "inf"): ("inf", "more than 0"),
    ("timeout", "soon"): ("'soon'", "float"),
    ("strict", "perhaps"): ("'perhaps'", "bool"),
    ("ignore", "LS1O1"): ("['LS1O1']", "LS101"),
    ("ignore", "LS999"): ("['LS999']", "there is no rule LS999: give one of LS101, LS102"),
    ("ignore", "LS9:app.*"): ("['LS9:app.*']", "or a family (LS3)"),
    ("ignore", "LS101@"): ("['LS101@']", "write a code"),
    ("ignore", "\n  LS101\n  XY9\n"): ("['LS101', 'XY9']", "LS206:thirdparty.*"),
}


@in_every_format
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_a_usage_error_that_names_it_and_what_is_allowed(
    pytester: pytest.Pytester, kind: str, name: str, value: str
) -> None:
    native, allowed = WRONG[name, value]
    write_settings(pytester, kind, name, value, native)
    pytester.makepyfile("def test_bystander(): pass")

    result = pytester.runpytest_inprocess()

    told = result.stderr.str()
    assert result.ret == USAGE_ERROR, result.stdout.str()
    assert f"loopsafe_{name}" in told
    assert value.split()[-1] in told
    assert allowed in told
    assert "Traceback" not in told
    assert len([line for line in told.splitlines() if line.strip()]) == 1


@pytest.mark.parametrize(
    ("name", "native", "shown"),
    [
        ("loops", "'3'", "'3'"),
        ("loops", "true", "True"),
        ("schedule", "3", "3"),
        ("timeout", "'30'", "'30'"),
        ("strict", "'yes'", "'yes'"),
        ("ignore", "'LS101'", "'LS101'"),
    ],
)
def test_a_native_value_of_the_wrong_type_is_a_usage_error(
    pytester: pytest.Pytester, name: str, native: str, shown: str
) -> None:
    write_settings(pytester, "native", name, "", native)
    pytester.makepyfile("def test_bystander(): pass")

    result = pytester.runpytest_inprocess()

    assert result.ret == USAGE_ERROR, result.stdout.str()
    assert f"loopsafe_{name}" in result.stderr.str()
    assert shown in result.stderr.str()
    assert "Traceback" not in result.stderr.str()


def test_a_wrong_value_on_the_command_line_is_a_usage_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_bystander(): pass")

    result = pytester.runpytest_inprocess("-o", "loopsafe_loops=0")

    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines(["*loopsafe_loops*1 or more*"])


def test_empty_values_mean_the_defaults(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nloopsafe_ignore =\nloopsafe_schedule =\n")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.multi_loop
        async def test_order():
            pass
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=1)
