"""Beside pytest-asyncio and anyio; loaded, not loaded, and what loading costs."""

import json
import re

import pytest

COUNTED = """
    import asyncio
    import pytest

    loops = []

    {marks}
    async def test_order():
        loop = asyncio.get_running_loop()
        assert not hasattr(loop, "used"), "two passes shared a loop"
        loop.used = True
        loops.append(loop)

    def test_it_ran_in_four_loops_and_not_once_more():
        assert len(loops) == 4
        assert all(loop.is_closed() for loop in loops)
"""

MARK = "@pytest.mark.multi_loop(4)"


def marks(*lines: str) -> str:
    return "\n    ".join(lines)


# -- pytest-asyncio ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.parametrize(
    "decorators",
    [
        marks(MARK),
        marks(MARK, "@pytest.mark.asyncio"),
        marks("@pytest.mark.asyncio", MARK),
        marks(MARK, "@pytest.mark.asyncio(loop_scope='module')"),
    ],
    ids=["multi_loop", "multi_loop and asyncio", "asyncio and multi_loop", "a wider loop scope"],
)
def test_beside_pytest_asyncio_a_marked_test_runs_by_this_plugin_alone(
    pytester: pytest.Pytester, mode: str, decorators: str
) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(COUNTED.format(marks=decorators))

    result = pytester.runpytest_inprocess(f"--asyncio-mode={mode}", "-W", "error")

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_beside_pytest_asyncio_hazards_are_found(app: pytest.Pytester, mode: str) -> None:
    pytest.importorskip("pytest_asyncio")
    app.makepyfile(
        test_shop="""
        import pytest
        import app

        @pytest.mark.asyncio
        @pytest.mark.multi_loop
        async def test_publish():
            await app.publish()
        """
    )

    result = app.runpytest_inprocess(f"--asyncio-mode={mode}", "-v")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_publish LOOP UNSAFE*"])


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_pytest_asyncios_own_tests_beside_still_work(pytester: pytest.Pytester, mode: str) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        import pytest_asyncio

        @pytest_asyncio.fixture
        async def basket():
            yield asyncio.get_running_loop()

        @pytest.mark.asyncio
        async def test_before(basket):
            assert asyncio.get_running_loop() is basket

        @pytest.mark.multi_loop
        async def test_marked():
            await asyncio.sleep(0)

        @pytest.mark.asyncio
        async def test_after(basket):
            assert asyncio.get_running_loop() is basket

        @pytest.mark.asyncio(loop_scope="module")
        class TestOneLoop:
            loops = []

            async def test_first(self):
                self.loops.append(asyncio.get_running_loop())

            @pytest.mark.multi_loop
            async def test_between(self):
                assert asyncio.get_running_loop() not in self.loops

            async def test_second(self):
                assert asyncio.get_running_loop() is self.loops[0]
        """
    )

    pytester.runpytest_inprocess(f"--asyncio-mode={mode}").assert_outcomes(passed=6)


def test_the_runner_inside_an_async_test_says_where_it_belongs(
    pytester: pytest.Pytester,
) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.asyncio
        async def test_inside(loopsafe_runner):
            loopsafe_runner.run(asyncio.sleep, 0)

        @pytest.mark.multi_loop
        async def test_inside_a_marked_one(loopsafe_runner):
            loopsafe_runner.run(asyncio.sleep, 0)

        def test_outside(loopsafe_runner):
            assert len(loopsafe_runner.run(asyncio.sleep, 0).loops) == 3
        """
    )

    result = pytester.runpytest_inprocess("-W", "error")

    result.assert_outcomes(failed=2, passed=1)
    told = result.stdout.str()
    assert told.count("cannot do so inside a running one") >= 2
    assert "from sync code (a plain `def` test)" in told


# -- anyio -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.parametrize(
    "decorators",
    [marks(MARK, "@pytest.mark.anyio"), marks("@pytest.mark.anyio", MARK), marks(MARK)],
    ids=["multi_loop and anyio", "anyio and multi_loop", "multi_loop"],
)
def test_beside_anyio_a_marked_test_runs_by_this_plugin_alone(
    pytester: pytest.Pytester, mode: str, decorators: str
) -> None:
    pytest.importorskip("anyio")
    pytester.makeini(f"[pytest]\nanyio_mode = {mode}\n")
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
        """
    )
    pytester.makepyfile(COUNTED.format(marks=decorators))

    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_anyios_parameters_multiply_the_tests_and_not_the_loops(
    pytester: pytest.Pytester,
) -> None:
    pytest.importorskip("anyio")
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(params=[{"use_uvloop": False}, {"debug": True}], ids=["a", "b"])
        def anyio_backend(request):
            return "asyncio", request.param
        """
    )
    pytester.makepyfile(
        """
        import pytest

        calls = []

        @pytest.mark.anyio
        @pytest.mark.multi_loop(2)
        async def test_order():
            calls.append(1)

        def test_calls():
            assert len(calls) == 4
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=3)


def test_anyios_own_tests_beside_still_work(pytester: pytest.Pytester) -> None:
    pytest.importorskip("anyio")
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        calls = []

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def basket():
            return asyncio.get_running_loop()

        @pytest.mark.anyio
        async def test_before(basket):
            assert asyncio.get_running_loop() is basket

        @pytest.mark.multi_loop(2)
        async def test_marked():
            calls.append(1)

        @pytest.mark.anyio
        async def test_after(basket):
            assert asyncio.get_running_loop() is basket
            assert len(calls) == 2
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=3)


# -- loaded and not loaded ---------------------------------------------------------------------


@pytest.mark.parametrize("page", ["--help", "--markers", "--fixtures"])
def test_switched_off_it_is_on_none_of_pytests_pages(pytester: pytest.Pytester, page: str) -> None:
    traces = ("loopsafe", "multi_loop")
    on = pytester.runpytest_inprocess(page).stdout.str()
    assert any(trace in on for trace in traces)

    off = pytester.runpytest_inprocess("-p", "no:loopsafe", page).stdout.str()

    # Where pytest names files, the folder of this very project may have its name.
    assert not any(trace in re.sub(r"\S*/\S*", "", off) for trace in traces)


def test_switched_off_it_has_no_marker_no_fixture_and_no_option(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        test_marker="""
        import pytest

        @pytest.mark.multi_loop
        def test_marked():
            pass
        """,
        test_fixture="def test_fixture(loopsafe_runner): pass",
    )

    off = ("-p", "no:loopsafe")
    marker = pytester.runpytest_subprocess(*off, "--strict-markers", "test_marker.py")
    fixture = pytester.runpytest_subprocess(*off, "test_fixture.py")
    option = pytester.runpytest_subprocess(*off, "--loopsafe")

    marker.assert_outcomes(errors=1)
    marker.stdout.fnmatch_lines(["*'multi_loop' not found in `markers`*"])
    fixture.assert_outcomes(errors=1)
    fixture.stdout.fnmatch_lines(["*fixture 'loopsafe_runner' not found*"])
    assert option.ret == pytest.ExitCode.USAGE_ERROR
    option.stderr.fnmatch_lines(["*unrecognized arguments: --loopsafe*"])


def test_without_plugin_discovery_it_loads_by_name(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(COUNTED.format(marks=MARK))

    without = pytester.runpytest_subprocess("--strict-markers")
    by_name = pytester.runpytest_subprocess("-p", "loopsafe", "--strict-markers", "-W", "error")

    without.assert_outcomes(errors=1)
    by_name.assert_outcomes(passed=2)


MODULES = """
    import json
    import sys

    def test_modules():
        with open("modules.json", "w") as file:
            json.dump(sorted(sys.modules), file)
"""


def modules_after(pytester: pytest.Pytester, *arguments: str) -> set[str]:
    """What is imported when a test runs in a pytest without any other plugin."""
    result = pytester.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=1)
    return set(json.loads((pytester.path / "modules.json").read_text()))


def test_loading_it_imports_next_to_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite that uses nothing of it pays for two small modules, and no asyncio."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(MODULES)

    without = modules_after(pytester)
    loaded = modules_after(pytester, "-p", "loopsafe") - without

    assert "asyncio" not in without, "pytest imports asyncio itself: this test proves nothing"
    packages = {name.partition(".")[0] for name in loaded}
    assert packages <= {"pytest_loopsafe", "math"}
    assert {name for name in loaded if name.startswith("pytest_loopsafe")} <= {
        "pytest_loopsafe",
        "pytest_loopsafe.plugin",
        "pytest_loopsafe._plugin",
        "pytest_loopsafe._plugin.marker",
        "pytest_loopsafe._plugin.newhooks",
        "pytest_loopsafe._words",
        "pytest_loopsafe._words.rules",
        "pytest_loopsafe._words.settings",
    }


def test_a_suite_that_uses_nothing_of_it_runs_without_its_hooks(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import asyncio

        def test_hooks(pytestconfig):
            hooks = pytestconfig.hook
            plugins = [
                str(plugin.plugin_name)
                for hook in (hooks.pytest_runtest_call, hooks.pytest_pyfunc_call)
                for plugin in hook.get_hookimpls()
            ]
            assert plugins
            assert not [name for name in plugins if "loopsafe" in name]

        def test_asyncio():
            code = asyncio.BaseEventLoop.call_soon.__code__
            assert code.co_filename == asyncio.base_events.__file__
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_nest_asyncio_puts_other_tasks_and_loops_in_place(pytester: pytest.Pytester) -> None:
    """It has the pure-Python task under all of asyncio's names, and one loop for all."""
    pytest.importorskip("nest_asyncio")
    pytester.makepyfile(
        """
        import asyncio
        import nest_asyncio
        import pytest

        nest_asyncio.apply()
        kept = []

        @pytest.mark.multi_loop
        async def test_safe():
            await asyncio.sleep(0)

        @pytest.mark.multi_loop
        async def test_unsafe():
            if not kept:
                kept.append(asyncio.get_running_loop().create_future())
            elif kept[0].get_loop() is not asyncio.get_running_loop():
                try:
                    await kept[0]
                except RuntimeError:
                    pass
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio", "-p", "no:anyio")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*LS101 cross-loop-await (swallowed)*"])
