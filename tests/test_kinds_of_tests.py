"""Kinds of tests with the marker: each is run over its loops, or fails alone and says why.

``broken`` waits in later loops for a queue of the first one, and hides the error; ``safe`` does
not. Each kind is tried with both: what passes with the one has to fail with the other.
"""

import pytest


@pytest.fixture
def with_anyio() -> bool:
    return True


HEAD = """
    import asyncio
    import functools
    import pytest

    queues = {}

    async def broken(test):
        queue = queues.setdefault(test, asyncio.Queue())
        try:
            await asyncio.wait_for(queue.get(), 0.001)
        except (TimeoutError, RuntimeError):
            pass

    async def safe(test):
        await asyncio.sleep(0)

    @pytest.fixture(autouse=True, params=[safe, broken], ids=["safe", "broken"])
    def act(request):
        return functools.partial(request.param, request.node.name)

    def decorated(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)
        return wrapper

    marked = pytest.mark.multi_loop(2)
"""

RUN_OVER_LOOPS = """
    @marked
    async def test_function(act):
        await act()

    @marked
    def test_plain_function(act):
        asyncio.run(act())

    class TestClass:
        @marked
        async def test_method(self, act):
            await act()

        @staticmethod
        @marked
        async def test_static(act):
            await act()

        @classmethod
        @marked
        async def test_of_the_class(cls, act):
            assert cls is TestClass
            await act()

        @classmethod
        @pytest.mark.multi_loop(2, fixtures="fresh")
        async def test_of_the_class_fresh(cls, act):
            assert cls is TestClass
            await act()

    @marked
    @pytest.mark.parametrize("number", [1])
    async def test_parametrized(act, number):
        await act()

    @marked
    async def test_raises(act):
        with pytest.raises(KeyError):
            await act()
            raise KeyError
"""

NOT_PASSED = """
    @marked
    @pytest.mark.xfail(strict=True, raises=KeyError)
    async def test_xfail(act):
        await act()
        raise KeyError

    @marked
    async def test_skips(act):
        await act()
        pytest.skip("later")
"""

REFUSED = """
    @marked
    async def test_generator(act):
        yield

    @marked
    @pytest.mark.skip
    async def test_skipped_generator(act):
        yield

    @marked
    @decorated
    async def test_decorated(act):
        raise AssertionError("never called")

    @marked
    def test_nothing(act):
        pass

    one_loop = asyncio.new_event_loop()

    @marked
    def test_one_loop():
        one_loop.run_until_complete(safe(""))

    @pytest.mark.multi_loop(2, schedule="persistent")
    def test_one_loop_is_meant():
        one_loop.run_until_complete(safe(""))

    @pytest.mark.multi_loop(2, ok_without_loops=True)
    def test_nothing_is_meant():
        pass

    @marked
    async def test_taken():
        raise AssertionError("never called")

    def test_end():
        one_loop.close()
"""


def test_each_kind_that_can_is_run_over_loops(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_shop=HEAD + RUN_OVER_LOOPS)

    result = pytester.runpytest_inprocess("-v", "-p", "no:asyncio", "-p", "no:anyio")

    result.assert_outcomes(passed=8, failed=8)
    unsafe = [line for line in result.outlines if "LOOP UNSAFE" in line and "::" in line]
    assert len([line for line in unsafe if "broken" in line and "%" in line]) == 8, unsafe


def test_what_fails_or_skips_for_another_reason_does_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_shop=HEAD + NOT_PASSED)

    result = pytester.runpytest_inprocess()

    result.assert_outcomes(xfailed=2, skipped=2)


def test_what_cannot_be_run_over_loops_fails_alone(pytester: pytest.Pytester) -> None:
    """Beside them all others are run: a marker on a module reaches whatever is in there."""
    pytester.makeconftest(
        """
        import pytest

        def pytest_collection_modifyitems(config, items):
            for item in items:
                if type(item).__name__ == "DoctestItem":
                    item.add_marker(pytest.mark.multi_loop)

        class Taking:
            @pytest.hookimpl(tryfirst=True)
            def pytest_pyfunc_call(self, pyfuncitem):
                return True if pyfuncitem.name == "test_taken" else None

        def pytest_collection_finish(session):
            session.config.pluginmanager.register(Taking(), "taking")
        """
    )
    head = HEAD.replace('autouse=True, params=[safe, broken], ids=["safe", "broken"]', "")
    head = head.replace("request.param", "safe")
    doctest = "    def documented():\n        '''\n        >>> 1\n        1\n        '''\n"
    pytester.makepyfile(test_shop=head + REFUSED + doctest)

    options = ("--doctest-modules", "-rA", "-p", "no:asyncio", "-p", "no:anyio")
    result = pytester.runpytest_inprocess(*options)

    result.assert_outcomes(passed=3, skipped=1, errors=2, failed=4)
    for line in (
        "*is on a DoctestItem, and can only be on a test function*",
        "*is on a generator: a test has no yield*",
        "*returned the coroutine test_decorated() and did not run it*",
        "the test was to run over 2 loops, and there was no event loop at all: *",
        "the test was to run over 2 loops, and there was 1 loop alone: a loop was kept*",
        "the test did not run over loops: the plugin 'taking' ran something else in its place*",
        "*@pytest.mark.multi_loop(ok_without_loops=True)*",
    ):
        result.stdout.fnmatch_lines([line])
    assert "never called" not in result.stdout.str()


HYPOTHESIS = """
    import asyncio
    import pytest
    import pytest_asyncio
    from hypothesis import HealthCheck, Phase, given, settings, strategies

    few = settings(
        max_examples=3, database=None, phases=[Phase.generate], derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    marked = pytest.mark.multi_loop(3)
    numbers = given(number=strategies.integers(0, 9))
    loops, queue = [], []

    def note(number):
        loop = asyncio.get_running_loop()
        assert loop not in [one for _, one in loops]
        loops.append((number, loop))

    @pytest_asyncio.fixture
    async def made_in():
        return asyncio.get_running_loop()

    @pytest.mark.asyncio
    @marked
    @few
    @numbers
    async def test_async(number):
        note(number)

    class TestClass:
        @pytest.mark.asyncio
        @marked
        @few
        @numbers
        async def test_method(self, made_in, number):
            assert isinstance(self, TestClass) and made_in is asyncio.get_running_loop()
            note(number)

    @marked
    @few
    @numbers
    def test_plain(number):
        async def run():
            note(number)
        asyncio.run(run())

    def test_each_example_ran_in_three_loops():
        assert len(loops) >= 3 * 3 * 2
        assert all(len({number for number, _ in loops[n:n + 3]}) == 1
                   for n in range(0, len(loops), 3))

    @pytest.mark.asyncio
    @marked
    @few
    @numbers
    async def test_broken(number):
        if not queue:
            queue.append(asyncio.Queue())
        try:
            await asyncio.wait_for(queue[0].get(), 0.001)
        except (TimeoutError, RuntimeError):
            pass

    @pytest.mark.asyncio
    @marked
    @settings(few, deadline=1)
    @numbers
    async def test_slow(number):
        await asyncio.sleep(0.002)

    @marked
    @few
    @numbers
    def test_nothing(number):
        pass
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_hypothesis_has_each_example_run_over_the_loops(
    pytester: pytest.Pytester, mode: str
) -> None:
    pytest.importorskip("hypothesis")
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(test_shop=HYPOTHESIS)
    pytester.makeini("[pytest]\nloopsafe_ignore = LS206")

    result = pytester.runpytest_inprocess("-p", "hypothesispytest", f"--asyncio-mode={mode}")

    result.assert_outcomes(passed=5, failed=2)
    result.stdout.fnmatch_lines(
        ["*test_broken - LS102*", "FAILED*test_nothing - Failed: the test was to run*"]
    )
    result.stdout.fnmatch_lines(["LS102 foreign-primitive      1 error in 1 test"])
