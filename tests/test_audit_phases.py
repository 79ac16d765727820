"""An audit watches from a test's first setup to its last teardown, and knows who made a loop."""

import json
from typing import Any

import pytest


@pytest.fixture
def with_anyio() -> bool:
    return True


pytest.importorskip("pytest_asyncio")

FIXTURES = """
    import asyncio
    import pytest
    import pytest_asyncio

    async def use(queue):
        '''Wait for what never comes; of another loop's queue that is refused.'''
        try:
            await asyncio.wait_for(queue.get(), 0.001)
        except (TimeoutError, RuntimeError):
            pass

    @pytest_asyncio.fixture(scope="session", loop_scope="session")
    async def pool():
        queue = asyncio.Queue()
        await use(queue)
        yield queue

    @pytest_asyncio.fixture
    async def used_in_setup(pool):
        await use(pool)
        yield

    @pytest_asyncio.fixture
    async def used_in_teardown(pool):
        yield
        await use(pool)

    @pytest.fixture
    def used_in_sync_setup(pool):
        asyncio.run(use(pool))

    @pytest.fixture
    def used_in_finalizer(pool, request):
        request.addfinalizer(lambda: asyncio.run(use(pool)))

    class TestPhases:
        @pytest.mark.asyncio
        async def test_setup(self, used_in_setup):
            pass

        @pytest.mark.asyncio
        async def test_teardown(self, used_in_teardown):
            pass

        def test_sync_setup(self, used_in_sync_setup):
            pass

        def test_finalizer(self, used_in_finalizer):
            pass

        @pytest.mark.asyncio(loop_scope="session")
        async def test_same_loop(self, pool):
            await use(pool)

        @pytest.mark.asyncio
        async def test_call(self, pool):
            await use(pool)

    class TestXunit:
        queue = asyncio.Queue()

        def setup_method(self):
            asyncio.run(use(self.queue))

        def teardown_method(self):
            asyncio.run(use(self.queue))

        def test_xunit(self):
            pass
"""


def findings(pytester: pytest.Pytester, *options: str) -> dict[str, Any]:
    pytester.runpytest_inprocess("--loopsafe", "--loopsafe-json=found.json", *options)
    tests = json.loads((pytester.path / "found.json").read_text())["tests"]
    return {
        test["nodeid"].rpartition("::")[2]: [
            (one["code"], one["message"]) for one in test["findings"]
        ]
        for test in tests
    }


def test_each_phase_is_watched(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_phases=FIXTURES)

    result = pytester.runpytest_inprocess("--loopsafe", "--loopsafe-json=found.json", "-v")

    # What is found in a teardown is an error of it, as pytest has it; the test itself has passed.
    result.assert_outcomes(passed=4, failed=3, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*::test_setup LOOP UNSAFE*",
            "*::test_teardown PASSED*",
            "*::test_teardown LOOP UNSAFE*",
            "*::test_sync_setup LOOP UNSAFE*",
            "*::test_finalizer PASSED*",
            "*::test_finalizer LOOP UNSAFE*",
            "*::test_same_loop PASSED*",
            "*::test_call LOOP UNSAFE*",
            "*::test_xunit PASSED*",
            "*::test_xunit LOOP UNSAFE*",
            "*_ ERROR at teardown of TestPhases.test_teardown _*",
            "LS102 *6 errors in 6 tests",
            "watched 7 tests",
        ]
    )


def test_a_finding_says_which_tests_and_fixtures_made_its_loops(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_phases=FIXTURES)

    found = findings(pytester)

    pool = "test_phases.py::TestPhases::test_setup (fixture 'pool', session scope)"
    test = "test_phases.py::TestPhases"
    for name, user in {
        "test_teardown": f"{test}::test_teardown (fixture 'used_in_teardown')",
        "test_finalizer": f"{test}::test_finalizer (fixture 'used_in_finalizer')",
        "test_call": f"{test}::test_call",
        "test_xunit": "test_phases.py::TestXunit::test_xunit (its setup and teardown)",
    }.items():
        ((code, message),) = found[name]
        assert code == "LS102"
        assert f"was made in {user}" in message
        assert f"loop 1 was made in {pool}" in message or name == "test_xunit"


LEFT = """
    import asyncio
    import pytest
    import pytest_asyncio

    @pytest.fixture(scope="module")
    def anyio_backend():
        return "asyncio"

    async def forever():
        await asyncio.Event().wait()

    @pytest_asyncio.fixture(scope="module", loop_scope="module")
    async def server():
        yield asyncio.create_task(forever(), name="server")

    @pytest.fixture(scope="session")
    def own_loop():
        yield asyncio.new_event_loop()

    @pytest.fixture(scope="session")
    def closed_loop():
        loop = asyncio.new_event_loop()
        yield loop
        loop.close()

    @pytest.fixture
    def function_loop():
        loop = asyncio.new_event_loop()
        yield loop
        loop.close()

    @pytest.fixture
    async def of_anyio():
        yield

    def test_first(server, own_loop, closed_loop, function_loop):
        pass

    @pytest.mark.asyncio(loop_scope="module")
    async def test_second(server):
        asyncio.create_task(asyncio.sleep(100), name="forgotten")
        asyncio.create_task(forever(), name="ended").cancel()

    @pytest.mark.anyio
    async def test_under_anyio(of_anyio):
        pass

    def test_last():
        assert {passes}

    def test_after_that():
        assert True
"""


@pytest.mark.parametrize("options", [[], ["-x"], ["-n1"], ["-n1", "-x"]], ids=" ".join)
def test_what_a_wide_loop_leaves_is_told_at_its_end_with_who_made_it(
    pytester: pytest.Pytester, options: list[str]
) -> None:
    """With ``-x`` the wider fixtures end with the session, after the last test's report."""
    if "-n1" in options:
        pytest.importorskip("xdist")
    pytester.makepyfile(test_left=LEFT.format(passes="-x" not in options))

    found = findings(pytester, *options)

    told = {message: name for name, both in found.items() for _, message in both}
    parts = ("'server'", "'forgotten'", "never closed")
    server, forgotten, own = (next(one for one in told if part in one) for part in parts)
    first = "test_left.py::test_first (fixture"
    assert f"was made in {first} 'server', module scope)" in server
    assert "(started in test_left.py::test_second)" in forgotten
    assert f"was made in {first} 'own_loop', session scope)" in own
    assert set(told.values()) == {"test_last" if "-x" in options else "test_after_that"}
    assert len(told) == 3


@pytest.mark.parametrize("option", ["--loopsafe", "--loopsafe-loops=3"])
def test_a_loop_that_a_fixture_takes_back_was_not_left(
    pytester: pytest.Pytester, option: str
) -> None:
    """It is there while the test is called, and to be taken back is for the fixture's teardown."""
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.fixture
        def loop():
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            yield loop
            loop.close()
            asyncio.set_event_loop(None)

        @pytest.fixture
        def left():
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            yield loop
            loop.close()

        def test_left_by_itself():
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

        def test_taken_back(loop):
            loop.run_until_complete(asyncio.sleep(0))

        def test_left_by_a_fixture(left):
            left.run_until_complete(asyncio.sleep(0))

        @pytest.fixture
        def left_open():
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            return loop

        def test_nothing_ends_it(left_open):
            left_open.run_until_complete(asyncio.sleep(0))
        """
    )
    # Of its own: what one that came before has left installed would be warned of in this one.
    pytester.runpytest_subprocess(option, "--loopsafe-json=found.json").assert_outcomes(passed=4)
    told = json.loads((pytester.path / "found.json").read_text())["tests"]
    found = {
        one["nodeid"].partition("::")[2]
        for one in told
        if "LS305" in [finding["code"] for finding in one["findings"]]
    }
    assert found == {"test_left_by_a_fixture", "test_nothing_ends_it", "test_left_by_itself"}


@pytest.mark.parametrize("option", ["--loopsafe", "--loopsafe-loops=3"])
def test_a_loop_that_a_fixture_closes_was_not_left_open(
    pytester: pytest.Pytester, option: str
) -> None:
    """Whether it does is known when its teardown has ended, though nothing more is seen then."""
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.fixture
        def closed():
            loop = asyncio.new_event_loop()
            yield loop
            loop.close()

        @pytest.fixture
        def forgotten():
            return asyncio.new_event_loop()

        def test_closed(closed):
            closed.run_until_complete(asyncio.sleep(0))

        def test_left_open(forgotten):
            forgotten.run_until_complete(asyncio.sleep(0))
        """
    )
    pytester.runpytest_subprocess(option, "--loopsafe-json=found.json").assert_outcomes(passed=2)
    told = json.loads((pytester.path / "found.json").read_text())["tests"]
    assert [[one["code"] for one in test["findings"]] for test in told] == [[], ["LS304"]]


REFUSED_LATE = """
    import asyncio
    import threading

    import pytest_loopsafe._watch.watch as watching

    def post(loop):
        try:
            loop.call_soon_threadsafe(int)
        except {error}:  # the run is over
            pass

    async def main():
        return asyncio.get_running_loop()

    def refuse(loop):
        thread = threading.Thread(target=post, args=(loop,))
        thread.start()
        thread.join()

    def test_late(monkeypatch):
        end_run = watching.Watch.end_run

        def and_then_a_thread_is_refused(self, **options):
            end_run(self, **options)
            refuse(asyncio.run(main()))

        monkeypatch.setattr(watching.Watch, "end_run", and_then_a_thread_is_refused)
        asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("error", "outcomes"),
    [("RuntimeError", {"passed": 1}), ("Exception", {"passed": 1, "errors": 1})],
)
def test_a_thread_that_is_refused_after_the_last_rest_is_judged_at_the_next(
    pytester: pytest.Pytester, error: str, outcomes: dict[str, int]
) -> None:
    """One that expects it is never accused; who keeps it quiet is, at the teardown."""
    pytester.makepyfile(test_late=REFUSED_LATE.format(error=error))
    pytester.runpytest("--loopsafe").assert_outcomes(**outcomes)
