"""Methods of a ``unittest.TestCase`` with the marker: each pass runs a case of its own."""

import pytest

HEAD = """
    import asyncio
    import unittest
    import pytest

    queues = {}

    async def broken(test):
        queue = queues.setdefault(test, asyncio.Queue())
        try:
            await asyncio.wait_for(queue.get(), 0.001)
        except (TimeoutError, RuntimeError):
            pass

    async def safe():
        await asyncio.sleep(0)
"""

TOLD = """
    events = []

    @pytest.mark.multi_loop(2)
    class TestShop(unittest.IsolatedAsyncioTestCase):
        @pytest.fixture(autouse=True)
        def given(self):
            events.append("fixture")
            self.number = 5

        @classmethod
        def setUpClass(cls):
            events.append("class")

        def setUp(self):
            self.loops = []
            self.addCleanup(events.append, "clean-up")

        async def asyncSetUp(self):
            self.loop = asyncio.get_running_loop()

        async def asyncTearDown(self):
            events.append(self.loop is asyncio.get_running_loop())

        async def test_shop(self):
            self.loops.append(asyncio.get_running_loop())
            assert (self.loops, self.number) == ([self.loop], 5)
            events.append("test")

    def test_end():
        assert events == ["class", "fixture", *["test", True, "clean-up"] * 2]
"""


def test_each_pass_is_what_a_run_of_the_case_is(pytester: pytest.Pytester) -> None:
    """With pytest's own fixtures, which are set up once, and what they have put on the case."""
    pytester.makepyfile(test_shop=HEAD + TOLD)
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


CASES = """
    @pytest.mark.multi_loop(2)
    class TestAsync(unittest.IsolatedAsyncioTestCase):
        {method}

    @pytest.mark.multi_loop(2)
    class TestPlain(unittest.TestCase):
        {plain}
"""
METHODS = {
    "safe": ("await safe()", {"passed": 2}, ""),
    "broken": ("await broken(self.id())", {"failed": 2}, "LS102 foreign-primitive*"),
    "fails": ("assert not await safe(), 'no'; self.fail('gone')", {"failed": 2}, "*Error: gone"),
    "skips": ("self.skipTest('later')", {"skipped": 2}, ""),
    "pytest skips": ("pytest.skip('later')", {"skipped": 2}, ""),
    "never ends": ("await asyncio.Event().wait()", {"failed": 2}, "*did not finish in 0.3 s*"),
    "fails and tears down": (
        "self.addAsyncCleanup(safe) if hasattr(self, 'addAsyncCleanup') else 0; self.fail('gone')",
        {"failed": 2},
        "*Error: gone",
    ),
}
EXPECTED = {
    "fails": ("self.fail('gone')", {"xfailed": 2}, "*gone*"),
    "passes": ("await safe()", {"failed": 2}, "*Unexpected success*"),
    "is broken": ("await broken(self.id()); self.fail('gone')", {"xfailed": 2}, ""),
}


def _told(pytester: pytest.Pytester, body: str, before: str = "") -> pytest.RunResult:
    method = f"{before}async def test_it(self): {body}"
    if "await" in body:
        plain = f"async def body(self): {body}\n\n        {before}def test_it(self): "
        plain += "asyncio.run(self.body())"
    else:
        plain = f"{before}def test_it(self): asyncio.run(safe()); {body}"
    pytester.makepyfile(test_shop=HEAD + CASES.format(method=method, plain=plain))
    return pytester.runpytest_inprocess("-rx", "-o", "loopsafe_timeout=0.3")


@pytest.mark.parametrize(("body", "outcomes", "line"), METHODS.values(), ids=METHODS)
def test_it_passes_and_fails_as_any_test_with_the_marker(
    pytester: pytest.Pytester, body: str, outcomes: dict[str, int], line: str
) -> None:
    result = _told(pytester, body)
    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines([f"*{line}*"])


@pytest.mark.parametrize(("body", "outcomes", "line"), EXPECTED.values(), ids=EXPECTED)
def test_what_is_expected_to_fail_is_an_xfail(
    pytester: pytest.Pytester, body: str, outcomes: dict[str, int], line: str
) -> None:
    result = _told(pytester, body, "@unittest.expectedFailure\n        ")
    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines([f"*{line}*"])


SUBTESTS = """
    @pytest.mark.multi_loop(2)
    class TestShop(unittest.IsolatedAsyncioTestCase):
        async def test_numbers(self):
            for number in range(4):
                with self.subTest(number=number):
                    await safe()
                    self.assertLess(number, 2)
"""


def test_a_subtest_fails_the_test_and_says_which_it_was(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_shop=HEAD + SUBTESTS)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*2 not less than 2", "*in the subtest (number=2)*", "*and*3 not*"]
    )


REFUSED = """
    class TestShop(unittest.TestCase):
        @pytest.mark.multi_loop(2)
        def test_no_loop(self):
            pass

        @pytest.mark.multi_loop(2, ok_without_loops=True)
        def test_no_loop_is_meant(self):
            pass

        @pytest.mark.multi_loop(2, concurrency=2)
        def test_at_once(self):
            asyncio.run(safe())

        @pytest.mark.multi_loop(2, schedule="threads")
        def test_in_threads(self):
            asyncio.run(safe())

        @pytest.mark.multi_loop(2)
        async def test_never_awaited(self):
            raise AssertionError("never called")
"""


@pytest.mark.filterwarnings("ignore")
def test_the_markers_arguments_mean_what_they_mean_for_a_plain_function(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(test_shop=HEAD + REFUSED)
    result = pytester.runpytest_inprocess("-W", "ignore")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(["*there was no event loop at all*"])
    result.stdout.fnmatch_lines(["*concurrency=2 is not allowed for a function that is not async*"])
    assert "never called" not in result.stdout.str()
