"""A wrong ``multi_loop`` marker is a usage error: it names the test, the value, what is allowed."""

import pytest

USAGE_ERROR = pytest.ExitCode.USAGE_ERROR

WRONG = {
    "loops=0": ("loops=0", "whole number", "1 or more"),
    "loops=-2": ("loops=-2", "1 or more"),
    "loops=True": ("loops=True", "whole number"),
    "loops='3'": ("loops='3'", "whole number"),
    "loops=2.0": ("loops=2.0", "whole number"),
    "loops=None": ("loops=None", "whole number"),
    "0": ("loops=0", "1 or more"),
    "2, 3": ("(2, 3)", "one positional argument (loops)"),
    "2, loops=3": ("loops", "twice", "2", "3"),
    "lops=3": ("lops=3", "loops, schedule, concurrency, timeout, strict, ignore, loop_factory"),
    "schedule='recycle'": ("schedule='recycle'", "did you mean 'recycled'?", "'consecutive'"),
    "schedule='Persistent'": ("schedule='Persistent'", "did you mean 'persistent'?"),
    "schedule='thread'": ("schedule='thread'", "did you mean 'threads'?"),
    "schedule='concurrency'": ("schedule='concurrency'", "did you mean 'concurrent'?"),
    "schedule='sideways'": ("schedule='sideways'", "'consecutive'", "'persistent'"),
    "schedule=None": ("schedule=None", "'consecutive'"),
    "schedule=['recycled']": ("schedule=['recycled']", "'recycled'"),
    "concurrency=0": ("concurrency=0", "1 or more"),
    "concurrency=True": ("concurrency=True", "whole number"),
    "concurrency='2'": ("concurrency='2'", "whole number"),
    "timeout=0": ("timeout=0", "seconds, more than 0"),
    "timeout=-1": ("timeout=-1", "seconds, more than 0"),
    "timeout=float('nan')": ("timeout=nan", "seconds, more than 0"),
    "timeout=float('inf')": ("timeout=inf", "seconds, more than 0"),
    "timeout='30'": ("timeout='30'", "seconds"),
    "timeout=None": ("timeout=None", "seconds"),
    "timeout=True": ("timeout=True", "seconds"),
    "strict='yes'": ("strict='yes'", "True or False"),
    "strict=1": ("strict=1", "True or False"),
    "ignore='LS1O1'": ("'LS1O1'", "LS101", "LS206:thirdparty.*"),
    "ignore='ls101'": ("'ls101'", "LS101"),
    "ignore=('LS101', 'XY9')": ("'XY9'", "LS101"),
    "ignore='LS101:'": ("'LS101:'", "owner glob"),
    "ignore=5": ("ignore=5", "rule code"),
    "ignore=[5]": ("ignore=5", "rule code"),
    "ignore=None": ("ignore=None", "rule code"),
    "loop_factory=5": ("loop_factory=5", "a function that returns a new event loop"),
    "loop_factory='uvloop'": ("loop_factory='uvloop'", "a function"),
    "fixtures='new'": ("fixtures='new'", "'shared', 'fresh'"),
    "ok_without_loops=1": ("ok_without_loops=1", "True or False"),
}


def assert_usage_error(result: pytest.RunResult, *words: str) -> None:
    """One clear line on stderr, no test run, and no traceback of ours."""
    stderr = result.stderr.str()
    assert result.ret == USAGE_ERROR, result.stdout.str()
    assert stderr.startswith("ERROR: "), stderr
    for word in words:
        assert word in stderr
    assert "Traceback" not in stderr + result.stdout.str()
    assert "passed" not in result.stdout.str()


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_argument_names_the_test_the_value_and_what_is_allowed(
    pytester: pytest.Pytester, arguments: str
) -> None:
    pytester.makepyfile(
        test_shop=f"""
        import pytest

        def test_bystander():
            pass

        @pytest.mark.multi_loop({arguments})
        async def test_order():
            pass
        """
    )

    result = pytester.runpytest_inprocess()

    assert_usage_error(result, "test_shop.py::test_order", *WRONG[arguments])


@pytest.mark.parametrize("arguments", ["loops=0", "schedule='sideways'"])
def test_a_wrong_argument_is_refused_on_a_sync_test_too(
    pytester: pytest.Pytester, arguments: str
) -> None:
    pytester.makepyfile(
        test_shop=f"""
        import pytest

        @pytest.mark.multi_loop({arguments})
        def test_order():
            pass
        """
    )

    assert_usage_error(pytester.runpytest_inprocess(), "test_shop.py::test_order", arguments)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [("concurrency=2", "concurrency=2"), ("loop_factory=asyncio.new_event_loop", "loop_factory=")],
)
def test_what_only_async_tests_can_have_is_refused_clearly_on_a_sync_test(
    pytester: pytest.Pytester, arguments: str, shown: str
) -> None:
    pytester.makepyfile(
        test_shop=f"""
        import asyncio
        import pytest

        @pytest.mark.multi_loop({arguments})
        def test_order():
            raise AssertionError("never called")
        """
    )

    result = pytester.runpytest_inprocess()

    told = result.stdout.str() + result.stderr.str()
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, USAGE_ERROR)
    assert "test_order" in told
    assert shown in told
    assert "not async" in told
    assert "Traceback" not in told
    assert "never called" not in told


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "1",
        "loops=2",
        "2, schedule='recycled', concurrency=2, timeout=5, strict=True, ignore=('LS2', 'LS301')",
        "schedule='persistent'",
        "schedule='threads', concurrency=2",
        "schedule='concurrent', concurrency=2",
        "timeout=0.5",
        "ignore='LS101:app.*'",
        "ignore=['LS3']",
        "ignore=()",
        "loop_factory=None",
        "loop_factory=asyncio.new_event_loop",
        "fixtures='shared'",
        "fixtures='fresh', ok_without_loops=True",
    ],
)
def test_what_is_allowed_is_accepted(pytester: pytest.Pytester, arguments: str) -> None:
    pytester.makepyfile(
        f"""
        import asyncio
        import pytest

        @pytest.mark.multi_loop({arguments})
        async def test_order():
            await asyncio.sleep(0)
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_the_marker_without_parentheses_means_three_loops(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        calls = []

        @pytest.mark.multi_loop
        async def test_order():
            calls.append(1)

        def test_calls():
            assert len(calls) == 3
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_generator_is_never_taken_for_a_test_that_passed(pytester: pytest.Pytester) -> None:
    """pytest itself refuses generators while it collects, in words that differ by version."""
    pytester.makepyfile(
        test_shop="""
        import pytest

        @pytest.mark.multi_loop
        def test_order():
            yield 1
        """
    )

    result = pytester.runpytest_inprocess()

    assert result.parseoutcomes().get("passed", 0) == 0
    assert "test_order" in result.stdout.str() + result.stderr.str()
    assert "yield" in result.stdout.str() + result.stderr.str()


COUNTING = """
    import pytest

    {module}
    calls = []

    {on_class}
    class TestShop:
        {on_method}
        async def test_order(self):
            calls.append(1)

    def test_calls():
        assert len(calls) == {expected}
"""


@pytest.mark.parametrize(
    ("module", "on_class", "on_method", "expected"),
    [
        ("", "@pytest.mark.multi_loop(2)", "", 2),
        ("", "@pytest.mark.multi_loop(loops=2)", "@pytest.mark.multi_loop(loops=4)", 4),
        ("", "@pytest.mark.multi_loop(2, concurrency=3)", "@pytest.mark.multi_loop(4)", 4),
        ("", "@pytest.mark.multi_loop(2, concurrency=3)", "", 6),
    ],
    ids=["class", "method over class", "the closest alone counts", "class with concurrency"],
)
def test_the_closest_marker_wins(
    pytester: pytest.Pytester, module: str, on_class: str, on_method: str, expected: int
) -> None:
    pytester.makepyfile(
        COUNTING.format(module=module, on_class=on_class, on_method=on_method, expected=expected)
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_module_level_marker_reaches_every_test_and_gives_way_to_a_closer_one(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        pytestmark = pytest.mark.multi_loop(2)
        calls = {"module": 0, "own": 0, "sync": 0}

        async def test_module():
            calls["module"] += 1

        @pytest.mark.multi_loop(5)
        async def test_own():
            calls["own"] += 1

        def test_sync():
            calls["sync"] += 1
            asyncio.run(asyncio.sleep(0))

        @pytest.mark.multi_loop(1, ok_without_loops=True)
        def test_calls():
            assert calls == {"module": 2, "own": 5, "sync": 2}
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=4)


def test_a_wrong_marker_that_a_closer_one_hides_does_no_harm(pytester: pytest.Pytester) -> None:
    """Only the closest marker is read: the others are none of this test's."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.multi_loop(loops=0)
        class TestShop:
            @pytest.mark.multi_loop(loops=2)
            async def test_order(self):
                pass
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_a_wrong_marker_on_a_deselected_test_does_no_harm(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_bystander():
            pass

        @pytest.mark.multi_loop(loops=0)
        async def test_order():
            pass
        """
    )

    result = pytester.runpytest_inprocess("-k", "bystander")

    result.assert_outcomes(passed=1, deselected=1)


def test_a_wrong_marker_is_found_by_collecting_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_shop="""
        import pytest

        @pytest.mark.multi_loop(loops=0)
        async def test_order():
            pass
        """
    )

    result = pytester.runpytest_inprocess("--collect-only")

    assert result.ret == USAGE_ERROR
    assert "test_shop.py::test_order" in result.stderr.str()
