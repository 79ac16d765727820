"""``--loopsafe``: a whole suite is watched as it stands, and no test is changed."""

import pytest

SUITE = """
    import asyncio
    import app

    def test_publish():
        assert asyncio.run(app.publish()) == "sent"
        asyncio.run(app.publish())

    def test_greet():
        assert asyncio.run(app.greet()) == "hello"

    def test_leaves_something_open():
        app.leave_open()

    def test_plain():
        pass
"""


def test_an_unmarked_test_with_a_swallowed_hazard_fails_and_clean_ones_pass(
    app: pytest.Pytester,
) -> None:
    app.makepyfile(test_shop=SUITE)
    app.runpytest_inprocess().assert_outcomes(passed=4)

    result = app.runpytest_inprocess("--loopsafe", "-v")

    result.assert_outcomes(failed=1, passed=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "test_shop.py::test_publish LOOP UNSAFE*",
            "test_shop.py::test_greet PASSED*",
            "test_shop.py::test_leaves_something_open PASSED*",
            "test_shop.py::test_plain PASSED*",
            "  LS101 cross-loop-await (swallowed)*",
            "*app.py:* in publish",
            "*= loopsafe report =*",
            "LS101 cross-loop-await*1 error in 1 test",
            "LS303 transport-left-open*1 warning in 1 test",
        ]
    )


def test_each_test_runs_once_and_in_the_order_it_would(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import pytest

        calls = []

        @pytest.fixture(params=[1, 2])
        def number(request):
            return request.param

        def test_numbers(number):
            calls.append(number)

        def test_calls():
            assert calls == [1, 2]
        """
    )

    app.runpytest_inprocess("--loopsafe").assert_outcomes(passed=3)


def test_hazards_between_two_tests_are_seen_in_the_test_that_meets_them(
    app: pytest.Pytester,
) -> None:
    app.makepyfile(
        test_shop="""
        import asyncio
        import app

        def test_first():
            asyncio.run(app.publish())

        def test_second():
            asyncio.run(app.publish())
        """
    )

    result = app.runpytest_inprocess("--loopsafe", "-v")

    result.stdout.fnmatch_lines(["*test_first PASSED*", "*test_second LOOP UNSAFE*"])


def test_a_failing_test_keeps_its_own_failure_with_the_findings_beside_it(
    app: pytest.Pytester,
) -> None:
    app.makepyfile(
        test_shop="""
        import asyncio
        import app

        def test_publish():
            asyncio.run(app.publish())
            assert asyncio.run(app.publish()) == "sent"
        """
    )

    result = app.runpytest_inprocess("--loopsafe")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E *'lost' == 'sent'*", "*- loopsafe -*", "  LS101 cross-loop-await (swallowed)*"]
    )


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("pytest.skip('no stock')", "skipped"),
        ("pytest.xfail('no stock')", "xfailed"),
        ("raise ValueError('no stock')", "failed"),
        ("raise SystemExit(3)", "failed"),
    ],
)
def test_pytests_outcomes_are_what_they_were(app: pytest.Pytester, body: str, outcome: str) -> None:
    app.makepyfile(
        test_shop=f"""
        import pytest

        def test_order():
            {body}

        def test_next():
            pass
        """
    )

    app.runpytest_inprocess("--loopsafe").assert_outcomes(**{outcome: 1, "passed": 1})


def test_the_ini_options_strict_and_ignore_hold(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=SUITE)

    strict = app.runpytest_inprocess("--loopsafe", "-o", "loopsafe_strict=true")
    ignoring = app.runpytest_inprocess("--loopsafe", "-o", "loopsafe_ignore=LS101")

    strict.assert_outcomes(failed=2, passed=2)
    ignoring.assert_outcomes(passed=4)


def test_unittest_test_cases_are_watched_too(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import asyncio
        import unittest
        import app

        class TestShop(unittest.TestCase):
            def test_publish(self):
                asyncio.run(app.publish())
                asyncio.run(app.publish())

            def test_greet(self):
                asyncio.run(app.greet())

        class TestAsync(unittest.IsolatedAsyncioTestCase):
            async def test_greet(self):
                await app.greet()
        """
    )

    result = app.runpytest_inprocess("--loopsafe", "-v")

    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(["*TestShop::test_publish LOOP UNSAFE*"])


def test_doctests_are_watched_too(app: pytest.Pytester) -> None:
    app.makepyfile(
        shop="""
        import asyncio
        import app

        def publish():
            '''
            >>> publish()
            'sent'
            >>> publish()
            'lost'
            '''
            return asyncio.run(app.publish())
        """
    )

    result = app.runpytest_inprocess("--loopsafe", "--doctest-modules", "shop.py")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  LS101 cross-loop-await (swallowed)*"])


def test_a_marked_test_runs_as_its_marker_says(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import pytest
        import app

        calls = []

        @pytest.mark.multi_loop(5)
        async def test_greet():
            calls.append(1)
            await app.greet()

        @pytest.mark.multi_loop(ignore="LS101")
        async def test_publish():
            await app.publish()

        def test_calls():
            assert len(calls) == 5
        """
    )

    result = app.runpytest_inprocess("--loopsafe", "--loopsafe-loops=2")

    result.assert_outcomes(passed=3)


def test_a_run_within_an_audited_test_is_judged_by_its_own_settings(
    app: pytest.Pytester,
) -> None:
    """What a test handles itself (check=False, ignore) does not fail it from outside."""
    app.makepyfile(
        test_shop="""
        import app

        def test_expects_the_hazard(loopsafe_runner):
            report = loopsafe_runner.run(app.publish, check=False)
            assert [finding.code for finding in report.findings] == ["LS101"]
        """
    )

    app.runpytest_inprocess("--loopsafe").assert_outcomes(passed=1)


# -- every async test over N loops -------------------------------------------------------------

ASYNC_SUITE = """
    import asyncio
    import pytest
    import app

    calls = {{"async": 0, "sync": 0, "class": 0}}

    {mark}
    async def test_async():
        calls["async"] += 1
        await app.greet()

    class TestShop:
        {mark}
        async def test_async(self, tmp_path):
            calls["class"] += 1
            await app.greet()

    {mark}
    async def test_publish():
        await app.publish()

    def test_sync():
        calls["sync"] += 1

    def test_calls():
        assert calls == {calls}
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_loopsafe_loops_runs_each_async_test_over_so_many_loops(
    app: pytest.Pytester, mode: str
) -> None:
    pytest.importorskip("pytest_asyncio")
    mark = "@pytest.mark.asyncio" if mode == "strict" else ""
    app.makepyfile(
        test_shop=ASYNC_SUITE.format(mark=mark, calls={"async": 4, "sync": 1, "class": 4})
    )

    result = app.runpytest_inprocess(
        "--loopsafe", "--loopsafe-loops=4", f"--asyncio-mode={mode}", "-v"
    )

    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*::test_publish LOOP UNSAFE*"])


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_without_it_pytest_asyncio_runs_each_async_test_once_and_it_is_watched(
    app: pytest.Pytester, mode: str
) -> None:
    pytest.importorskip("pytest_asyncio")
    mark = "@pytest.mark.asyncio" if mode == "strict" else ""
    app.makepyfile(
        test_shop=ASYNC_SUITE.format(mark=mark, calls={"async": 1, "sync": 1, "class": 1})
        + f"""
    {mark}
    async def test_publish_again():
        await app.publish()
"""
    )

    result = app.runpytest_inprocess("--loopsafe", f"--asyncio-mode={mode}", "-v")

    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*::test_publish PASSED*", "*::test_publish_again LOOP UNSAFE*"])


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_a_test_with_an_async_fixture_gets_a_new_one_in_each_loop(
    app: pytest.Pytester, mode: str
) -> None:
    """The plugin that owns the loop runs each run of it, fixtures and all."""
    pytest.importorskip("pytest_asyncio")
    app.makepyfile(
        test_shop="""
        import asyncio
        import pytest
        import pytest_asyncio

        calls = []

        @pytest_asyncio.fixture
        async def basket():
            yield asyncio.get_running_loop()

        @pytest.mark.asyncio
        async def test_order(basket):
            calls.append(1)
            assert asyncio.get_running_loop() is basket

        def test_calls():
            assert len(calls) == 3
        """
    )

    result = app.runpytest_inprocess("--loopsafe", "--loopsafe-loops=3", f"--asyncio-mode={mode}")

    result.assert_outcomes(passed=2)


def test_loopsafe_loops_alone_is_an_audit_too(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=SUITE)

    result = app.runpytest_inprocess("--loopsafe-loops=2")

    result.assert_outcomes(failed=1, passed=3)
    result.stdout.fnmatch_lines(["loopsafe: every test is watched*"])


@pytest.mark.parametrize("value", ["-1", "many", "1.5", ""])
def test_a_wrong_number_of_loops_is_a_usage_error_that_names_it(
    pytester: pytest.Pytester, value: str
) -> None:
    pytester.makepyfile("def test_plain(): pass")

    result = pytester.runpytest_subprocess(f"--loopsafe-loops={value}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--loopsafe-loops*{value}*"])
    assert "Traceback" not in result.stderr.str()
