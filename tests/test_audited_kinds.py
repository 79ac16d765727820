"""Every kind of test in an audit: as it stands, and with ``--loopsafe-loops=3``.

``safe`` does nothing wrong. ``broken`` uses another loop's future within one run, ``leaky`` only
where it is run again; both hide the error. What passes with the first has to fail with the others.
"""

import json
from typing import Any

import pytest


@pytest.fixture
def with_anyio() -> bool:
    return True


pytest.importorskip("pytest_asyncio")

CODE = """
    import asyncio

    kept = {}

    async def safe(key=None):
        await asyncio.sleep(0)

    async def wait_for(future):
        try:
            await future
        except RuntimeError:
            pass

    async def broken(key=None):
        future = asyncio.get_running_loop().create_future()
        await asyncio.to_thread(lambda: asyncio.run(wait_for(future)))

    async def leaky(key=None):
        future = kept.setdefault(key, asyncio.get_running_loop().create_future())
        if future.get_loop() is not asyncio.get_running_loop():
            await wait_for(future)
"""

KINDS = """
    import asyncio
    import unittest
    import pytest
    from code_under_test import {body} as body

    runs = []

    @pytest.mark.asyncio
    async def test_function():
        await body("function")

    def test_own_runner():
        with asyncio.Runner() as runner:
            runner.run(body("runner"))

    def test_asyncio_run(tmp_path, monkeypatch, caplog, capsys):
        (tmp_path / "new").mkdir()
        monkeypatch.setattr(unittest, "extra", 1, raising=False)
        print("once")
        assert capsys.readouterr().out == "once\\n"
        asyncio.run(body("run"))
        assert not caplog.records

    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    @pytest.mark.anyio
    async def test_anyio():
        await body("anyio")

    @pytest.mark.asyncio
    @pytest.mark.parametrize("number", [1, 2])
    async def test_parametrized(number):
        await body(number)

    @pytest.fixture(params=["a", "b"], scope="module")
    def wide(request):
        runs.append(request.param)
        return request.param

    @pytest.mark.asyncio
    async def test_wide_fixture(wide):
        await body(wide)
        assert len(runs) < 3

    @pytest.mark.asyncio
    class TestMethods:
        async def test_method(self):
            assert not hasattr(self, "used")
            self.used = True
            await body("method")

        @staticmethod
        async def test_static():
            await body("static")

        @classmethod
        async def test_class(cls):
            await body("class")

    class TestXunit:
        def setup_method(self):
            self.made = []

        @pytest.mark.asyncio
        async def test_xunit(self):
            self.made.append(1)
            assert len(self.made) == 1
            await body("xunit")

    class TestPlainCase(unittest.TestCase):
        def setUp(self):
            self.made = []

        def test_case(self):
            self.made.append(1)
            assert len(self.made) == 1
            asyncio.run(body("case"))

        def test_subtests_of_case(self):
            for number in range(2):
                with self.subTest(number=number):
                    assert number or asyncio.run(body("subtests of case")) is None

    class TestAsyncCase(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self):
            self.loop = asyncio.get_running_loop()

        async def test_async_case(self):
            assert self.loop is asyncio.get_running_loop()
            await body("async case")

    @pytest.mark.asyncio
    async def test_raises():
        with pytest.raises(ValueError):
            await body("raises")
            raise ValueError

    def test_no_loop():
        pass

    @pytest.mark.asyncio(loop_scope="module")
    async def test_wide_loop():
        await body("wide")

    class Documented:
        '''
        >>> import asyncio
        >>> asyncio.run(body("doctest"))
        '''
"""

NOT_OVER_LOOPS = {
    "test_no_loop": "makes no loop",
    "test_wide_loop": "runs in a loop that serves other tests, too",
    "Documented": "is a DoctestItem",
}


def audited(pytester: pytest.Pytester, *options: str) -> dict[str, dict[str, Any]]:
    """What the JSON file says, by the names of the tests."""
    pytester.runpytest_inprocess(
        "--loopsafe-json=found.json", "--doctest-modules", "-p", "no:randomly", *options
    )
    tests = json.loads((pytester.path / "found.json").read_text())["tests"]
    assert len({test["nodeid"] for test in tests}) == len(tests), "each test is told of once"
    return {test["nodeid"].rpartition("::")[2].rpartition(".")[2]: test for test in tests}


@pytest.mark.parametrize("body", ["safe", "broken", "leaky"])
def test_each_kind_is_watched_as_it_stands(pytester: pytest.Pytester, body: str) -> None:
    pytester.makepyfile(code_under_test=CODE, test_kinds=KINDS.format(body=body))

    found = audited(pytester, "--loopsafe")

    unsafe = {name for name, test in found.items() if test["outcome"] == "failed"}
    clean = found.keys() if body != "broken" else {"test_no_loop"}
    assert unsafe == found.keys() - clean
    assert all("LS101" in [one["code"] for one in found[name]["findings"]] for name in unsafe)
    assert all(test["runs"] == 1 for test in found.values())


@pytest.mark.parametrize("body", ["safe", "broken", "leaky"])
def test_each_kind_is_run_over_loops(pytester: pytest.Pytester, body: str) -> None:
    pytester.makepyfile(code_under_test=CODE, test_kinds=KINDS.format(body=body))

    found = audited(pytester, "--loopsafe-loops=3")

    unsafe = {name for name, test in found.items() if test["outcome"] == "failed"}
    clean: Any = {"safe": found.keys(), "broken": {"test_no_loop"}}.get(body, NOT_OVER_LOOPS.keys())
    assert unsafe == found.keys() - clean
    assert all("LS101" in [one["code"] for one in found[name]["findings"]] for name in unsafe)
    once = {name: test["not_over_loops"] for name, test in found.items() if test["runs"] != 3}
    if body == "broken":  # has a loop of its own, too
        once["test_wide_loop"] = NOT_OVER_LOOPS["test_wide_loop"]
    assert once == NOT_OVER_LOOPS
    assert all(test["loops"] >= 3 for test in found.values() if test["runs"] == 3)


OUTCOMES = """
    import asyncio
    import unittest
    import pytest
    from code_under_test import broken, leaky, safe

    counts = {}

    def again(name):
        counts[name] = counts.get(name, 0) + 1
        return counts[name] > 1

    async def unsafe(name):
        await broken()
        await leaky(name)

    def test_skipped():
        asyncio.run(safe())
        pytest.skip("later")

    def test_unsafe_skipped():
        asyncio.run(unsafe("skipped"))
        pytest.skip("later")

    def test_xfailed_by_itself():
        asyncio.run(unsafe("xfailed"))
        pytest.xfail("later")

    @pytest.mark.xfail(strict=True)
    def test_xfail_strict():
        asyncio.run(unsafe("strict"))

    @pytest.mark.xfail(strict=True)
    def test_xfail_over_loops():
        asyncio.run(leaky("xfail over loops"))

    @pytest.mark.xfail(strict=True, raises=ValueError)
    def test_unsafe_xfail_raises():
        asyncio.run(unsafe("raises"))

    @pytest.mark.xfail(strict=True, raises=ValueError)
    def test_xfail_raises():
        asyncio.run(safe())
        raise ValueError

    @pytest.mark.skip
    def test_never():
        asyncio.run(unsafe("never"))

    def test_skipped_when_run_again():
        asyncio.run(safe())
        if again("skip"):
            pytest.skip("once is enough")

    def test_fails_when_run_again():
        asyncio.run(safe())
        assert not again("fail")

    def test_unsafe_fails_when_run_again():
        asyncio.run(leaky("fails again"))
        assert not again("unsafe fail")

    class Case(unittest.TestCase):
        def test_case_skipped(self):
            asyncio.run(safe())
            self.skipTest("later")

        def test_unsafe_case_skipped(self):
            asyncio.run(unsafe("case skipped"))
            self.skipTest("later")

        @unittest.expectedFailure
        def test_expected_failure(self):
            asyncio.run(safe())
            raise ValueError

        @unittest.expectedFailure
        def test_expected_to_be_unsafe(self):
            asyncio.run(broken())

        def test_case_fails_when_run_again(self):
            asyncio.run(safe())
            self.assertFalse(again("case fail"))

        def test_unsafe_case_fails_when_run_again(self):
            asyncio.run(leaky("case fails again"))
            self.assertFalse(again("unsafe case fail"))

    class TestHooks(unittest.IsolatedAsyncioTestCase):
        async def asyncTearDown(self):
            assert not again("teardown")

        async def test_async_case_fails_when_run_again(self):
            await safe()

    @pytest.fixture
    def fails_when_made_again():
        assert not again("setup")

    def test_setup_fails_again(fails_when_made_again):
        asyncio.run(safe())

    @pytest.fixture
    def unsafe_skips():
        asyncio.run(unsafe("fixture"))
        pytest.skip("no server")

    def test_unsafe_skipping_fixture(unsafe_skips):
        pass

    @pytest.fixture
    def ends_badly():
        yield
        raise ValueError

    def test_teardown_fails(ends_badly):
        asyncio.run(safe())
"""


def test_a_verdict_is_what_it_was_but_for_what_is_unsafe(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(code_under_test=CODE, test_outcomes=OUTCOMES)

    before = pytester.runpytest_inprocess().parseoutcomes()
    once = audited(pytester, "--loopsafe")
    often = audited(pytester, "--loopsafe-loops=3")

    assert before == {"passed": 8, "failed": 4, "skipped": 6, "xfailed": 3, "errors": 1}
    unsafe = {name for name in once if name.startswith("test_unsafe")}
    over_loops = {"test_unsafe_fails_when_run_again", "test_unsafe_case_fails_when_run_again"}
    assert {name for name, test in often.items() if test["outcome"] == "failed"} == {
        *unsafe,
        "test_teardown_fails",
    }
    assert {name for name, test in once.items() if test["outcome"] == "failed"} == {
        *(unsafe - over_loops),
        "test_teardown_fails",
        "test_xfail_over_loops",
    }
    assert {
        name: test["not_over_loops"] for name, test in often.items() if test["not_over_loops"]
    } == {
        "test_skipped": "was skipped",
        "test_never": "was skipped",
        "test_case_skipped": "was skipped",
        "test_unsafe_skipped": "was skipped",
        "test_unsafe_case_skipped": "was skipped",
        "test_unsafe_skipping_fixture": "was skipped",
        "test_xfailed_by_itself": "was expected to fail",
        "test_expected_failure": "was expected to fail",
        "test_expected_to_be_unsafe": "failed",
        "test_xfail_raises": "failed",
        "test_teardown_fails": "its teardown failed",
        "test_skipped_when_run_again": "was skipped when it was run again",
        "test_fails_when_run_again": "failed when it was run again: AssertionError",
        "test_case_fails_when_run_again": "failed when it was run again: AssertionError",
        "test_unsafe_fails_when_run_again": "failed when it was run again: AssertionError",
        "test_unsafe_case_fails_when_run_again": "failed when it was run again: AssertionError",
        "test_async_case_fails_when_run_again": "failed when it was run again: AssertionError",
        "test_setup_fails_again": "failed when it was run again: AssertionError",
    }
