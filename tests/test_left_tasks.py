"""LS301: the tasks by which a test framework runs tests are nobody's to end; all others are."""

import asyncio
from importlib.util import find_spec

import pytest

import pytest_loopsafe

STRICT = ("--loopsafe", "-o", "loopsafe_strict=true", "-p", "no:cacheprovider")


@pytest.mark.skipif(find_spec("anyio") is None, reason="needs anyio")
def test_anyios_plugin_keeps_a_task_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import asyncio
        import anyio
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def number():
            yield 1

        @pytest.mark.anyio
        async def test_leaves_nothing(number):
            await anyio.sleep(0)

        @pytest.mark.anyio
        async def test_leaves_one():
            asyncio.create_task(anyio.sleep(60))
            await anyio.sleep(0)
    """)
    result = pytester.runpytest(*STRICT, "-p", "anyio", "-p", "no:asyncio")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*of sleep() was still pending*", "  LS301 *"])
    result.stdout.no_fnmatch_line("*_run_tests_and_fixtures() was still pending*")


def test_so_may_a_framework_that_is_under_test_itself(pytester: pytest.Pytester) -> None:
    """Its code is the user's, then; that pytest calls it as a hook tells it from a test."""
    pytester.makepyfile(
        framework="""
            import asyncio

            class Runner:
                def run(self, test):
                    with asyncio.Runner() as runner:
                        runner.run(self._hand_over(test))

                async def _hand_over(self, test):
                    self._tests = asyncio.Queue()
                    self._task = asyncio.ensure_future(self._run_tests())
                    done = asyncio.get_running_loop().create_future()
                    self._tests.put_nowait((test, done))
                    await done

                async def _run_tests(self):
                    while True:
                        test, done = await self._tests.get()
                        await test()
                        done.set_result(None)
        """,
        conftest="""
            import inspect
            import pytest
            from framework import Runner

            @pytest.hookimpl(tryfirst=True)
            def pytest_pyfunc_call(pyfuncitem):
                if inspect.iscoroutinefunction(pyfuncitem.obj):
                    Runner().run(pyfuncitem.obj)
                    return True
        """,
        test_it="""
            import asyncio
            from framework import Runner

            async def test_leaves_nothing():
                await asyncio.sleep(0)

            async def test_leaves_one():
                asyncio.ensure_future(asyncio.sleep(60))
                await asyncio.sleep(0)

            def test_that_runs_the_framework():
                async def nothing():
                    pass
                Runner().run(nothing)
        """,
    )
    result = pytester.runpytest(*STRICT, "-p", "no:asyncio")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*of sleep() was still pending*"])
    result.stdout.fnmatch_lines(["*of Runner._run_tests() was still pending*"])


def test_a_task_of_a_librarys_callback_is_told(pytester: pytest.Pytester) -> None:
    """No code of the user's is on the stack when it is made, and it is not the framework's."""
    pytester.makepyfile("""
        import asyncio
        import unittest

        class Tests(unittest.IsolatedAsyncioTestCase):
            async def test_nothing(self):
                await asyncio.sleep(0)

            async def test_leaves_one(self):
                asyncio.get_running_loop().call_soon(asyncio.ensure_future, asyncio.sleep(60))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
    """)
    result = pytester.runpytest(*STRICT)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*of sleep() was still pending*"])


@pytest.mark.parametrize(
    ("by_hand", "what_happened"),
    [(False, "when loop 1 ended, and was cancelled"), (True, "when loop 1 was closed by hand: ")],
)
def test_it_says_what_became_of_the_task(by_hand: bool, what_happened: str) -> None:
    kept: list[asyncio.Task[None]] = []

    async def leave() -> None:
        kept.append(asyncio.create_task(asyncio.sleep(60)))
        await asyncio.sleep(0)

    def run() -> None:
        if not by_hand:
            asyncio.run(leave())
            return
        loop = asyncio.new_event_loop()
        loop.run_until_complete(leave())
        loop.close()

    report = pytest_loopsafe.run(run, loops=1)
    [finding] = report.findings
    assert finding.code == "LS301"
    assert what_happened in finding.message
    assert kept[0].cancelled() is not by_hand


def test_what_a_runner_of_ones_own_starts_and_forgets_is_found_nevertheless(
    pytester: pytest.Pytester,
) -> None:
    """Its stack is that of a task by which a framework runs tests, which only LS301 leaves out."""
    pytester.makeconftest(
        """
        import asyncio
        import pytest

        loop = asyncio.new_event_loop()

        async def audit():
            for _ in range(3):
                await asyncio.sleep(0)

        async def start():
            asyncio.create_task(audit())
            await asyncio.sleep(0)

        @pytest.hookimpl(tryfirst=True)
        def pytest_pyfunc_call(pyfuncitem):
            for _ in range(3):
                loop.run_until_complete(start())
            loop.run_until_complete(pyfuncitem.obj())
            return True
        """
    )
    pytester.makepyfile("async def test_it(): pass")
    result = pytester.runpytest_subprocess("--loopsafe")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*LS307*"])
