"""Under pytest-xdist the findings travel from the workers to the one report."""

import json

import pytest

pytest.importorskip("xdist")

TESTS = """
    import pytest
    import app

    @pytest.mark.multi_loop
    async def test_publish():
        await app.publish()

    @pytest.mark.multi_loop
    async def test_publish_loudly():
        await app.publish_loudly()

    @pytest.mark.multi_loop
    def test_leaves_something_open():
        app.leave_open()

    @pytest.mark.multi_loop(4)
    async def test_greet():
        await app.greet()

    def test_plain():
        pass

    def test_fixture(loopsafe_runner):
        assert loopsafe_runner.run(app.greet).loops
"""


@pytest.fixture
def shop(app: pytest.Pytester) -> pytest.Pytester:
    app.makepyfile(test_shop=TESTS)
    return app


def test_findings_are_told_as_without_it(shop: pytest.Pytester) -> None:
    result = shop.runpytest_subprocess("-n", "2", "-v")

    result.assert_outcomes(failed=2, passed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*LOOP UNSAFE*test_shop.py::test_publish*"])
    result.stdout.fnmatch_lines(
        [
            "*_ test_publish _*",
            "  LS101 cross-loop-await (swallowed)*",
            "*app.py:* in publish",
            "*remedy:*",
        ]
    )
    result.stdout.fnmatch_lines(
        ["*_ test_publish_loudly _*", "*RuntimeError*different loop*", "*- loopsafe -*", "LS101*"]
    )


def test_the_summary_counts_over_all_workers(shop: pytest.Pytester) -> None:
    result = shop.runpytest_subprocess("-n", "2", "-k", "publish or open or greet")

    told = result.stdout.str()
    assert told.count("= loopsafe report =") == 1
    result.stdout.fnmatch_lines(
        [
            "*= loopsafe report =*",
            "LS101 cross-loop-await*2 errors in 2 tests",
            "LS303 transport-left-open*warning*in 1 test",
            "*test_shop.py::test_leaves_something_open: LS303: *",
        ]
    )


def test_the_letter_is_shown(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_publish():
            await app.publish()
        """
    )

    result = app.runpytest_subprocess("-n", "2")

    result.assert_outcomes(failed=1)
    assert "L" in [line.split()[0] for line in result.outlines if line.endswith("[100%]")]


def test_the_json_file_is_the_same_as_without_it(shop: pytest.Pytester) -> None:
    shop.runpytest_subprocess("-n", "2", "--loopsafe-json=spread.json")
    shop.runpytest_subprocess("-n", "0", "--loopsafe-json=alone.json")

    spread, alone = (
        {
            test["nodeid"]: (
                test["outcome"],
                test["loops"],
                [
                    (one["code"], one["swallowed"], one["loop"], one["home_loop"])
                    for one in test["findings"]
                ],
            )
            for test in json.loads((shop.path / name).read_text())["tests"]
        }
        for name in ("spread.json", "alone.json")
    )
    assert spread == alone
    assert len(spread) == 5


def test_an_audit_reaches_the_workers(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import asyncio
        import app

        def test_publish():
            asyncio.run(app.publish())
            asyncio.run(app.publish())

        def test_greet():
            asyncio.run(app.greet())
        """
    )

    result = app.runpytest_subprocess("-n", "2", "--loopsafe")

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["LS101 cross-loop-await*1 error in 1 test"])


def test_a_wrong_marker_is_an_error_that_names_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_shop="""
        import pytest

        @pytest.mark.multi_loop(loops=0)
        async def test_order():
            pass
        """
    )

    result = pytester.runpytest_subprocess("-n", "2")

    told = result.stdout.str() + result.stderr.str()
    assert result.ret != pytest.ExitCode.OK
    assert "passed" not in result.stdout.str()
    assert "test_shop.py::test_order" in told
    assert "loops=0" in told
