"""Beside pytest-asyncio and anyio; loaded, not loaded, and what loading costs."""

import json
import re

import pytest

from pytest_loopsafe._plugin import pytest_inside


@pytest.fixture
def with_anyio() -> bool:
    return True


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


def test_the_backend_and_its_options_decide_which_loop_it_is(pytester: pytest.Pytester) -> None:
    """What a test's id says of its loop is true; what is no asyncio at all is left alone."""
    pytest.importorskip("trio")
    pytest.importorskip("uvloop")
    pytester.makepyfile(
        """
        import asyncio
        import json
        import pytest
        import sniffio
        import uvloop

        class Own(asyncio.SelectorEventLoop):
            pass

        BACKENDS = {
            "trio": "trio",
            "asyncio": "asyncio",
            "uvloop": ("asyncio", {"use_uvloop": True}),
            "factory": ("asyncio", {"loop_factory": Own}),
        }
        calls = []

        @pytest.fixture(params=BACKENDS.values(), ids=BACKENDS)
        def anyio_backend(request):
            return request.param

        @pytest.fixture
        async def library():
            library = sniffio.current_async_library()
            yield library
            assert sniffio.current_async_library() == library

        @pytest.mark.anyio
        @pytest.mark.multi_loop(2)
        async def test_order(library, request):
            named = request.node.callspec.id
            assert library == ("trio" if named == "trio" else "asyncio")
            if named != "trio":
                running = asyncio.get_running_loop()
                kinds = {"uvloop": uvloop.Loop, "factory": Own}
                kind = kinds.get(named, asyncio.SelectorEventLoop)
                assert type(running) is kind or named == "asyncio" and isinstance(running, kind)
            calls.append(named)

        def test_calls():
            assert [calls.count(name) for name in BACKENDS] == [1, 2, 2, 2]
        """
    )

    result = pytester.runpytest_inprocess("-p", "no:asyncio", "--loopsafe-json=found.json")

    result.assert_outcomes(passed=5)
    found = json.loads((pytester.path / "found.json").read_text())["tests"]
    assert [(len(test["notes"]), test["loops"]) for test in found] == [(1, 0)] + 3 * [(0, 2)]
    assert "it runs under trio" in found[0]["notes"][0]


def test_loop_factories_and_policies_decide_which_loop_it_is(pytester: pytest.Pytester) -> None:
    pytest_asyncio = pytest.importorskip("pytest_asyncio")
    if not hasattr(pytest_asyncio.plugin, "_asyncio_loop_factory"):
        pytest.skip("loop factories came with pytest-asyncio 1.4")
    pytester.makeconftest(
        """
        import asyncio

        class Own(asyncio.SelectorEventLoop):
            pass

        class Other(asyncio.SelectorEventLoop):
            pass

        def pytest_asyncio_loop_factories(config, item):
            return {"own": Own, "other": Other}
        """
    )
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        import pytest_asyncio
        from conftest import Other, Own

        seen = []

        @pytest_asyncio.fixture
        async def made_in():
            return asyncio.get_running_loop()

        @pytest.mark.asyncio
        @pytest.mark.multi_loop(2)
        async def test_factory(made_in, request):
            running = asyncio.get_running_loop()
            assert made_in is running
            assert type(running) is {"own": Own, "other": Other}[request.node.callspec.id]
            seen.append(1)

        @pytest.mark.asyncio
        @pytest.mark.multi_loop(2, loop_factory=asyncio.new_event_loop)
        async def test_two_of_them(made_in):
            raise AssertionError("never called")

        class TestPolicy:
            @pytest.fixture
            def event_loop_policy(self):
                class Policy(asyncio.DefaultEventLoopPolicy):
                    _loop_factory = Own
                return Policy()

            @pytest.mark.multi_loop(2, fixtures="fresh")
            async def test_policy(self):
                assert type(asyncio.get_running_loop()) is Own
                seen.append(1)

        def test_end():
            assert len(seen) == 6
        """
    )

    deprecated = "ignore:Overriding the:pytest.PytestDeprecationWarning"
    result = pytester.runpytest_inprocess("--asyncio-mode=strict", "-W", deprecated)

    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(["*loop_factory=* is not allowed where a fixture or a parameter*"])


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


def test_a_version_that_was_never_tried_is_told_once_and_ends_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pytest_inside.TRIED, "pytest", ((1, 0), (2, 0)))
    pytester.makepyfile(COUNTED.format(marks=MARK))

    plain = pytester.runpytest_inprocess()
    strict = pytester.runpytest_inprocess("-W", "error")

    plain.assert_outcomes(passed=2, warnings=1)
    plain.stdout.fnmatch_lines([f"*pytest {pytest.__version__} was never tried with this*"])
    strict.assert_outcomes(passed=2)


MODULES = """
    import json
    import sys

    def test_modules():
        with open("modules.json", "w") as file:
            json.dump(sorted(sys.modules), file)
"""


def modules_after(pytester: pytest.Pytester, *arguments: str) -> set[str]:
    """What is imported when a test runs in a pytest without any other plugin.

    And without its debugging: from CPython 3.14 on `pdb` imports asyncio.
    """
    result = pytester.runpytest_subprocess("-p", "no:debugging", *arguments)
    result.assert_outcomes(passed=1)
    return set(json.loads((pytester.path / "modules.json").read_text()))


def test_loading_it_imports_next_to_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite that uses nothing of it pays for a few small modules, and no asyncio."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(MODULES)

    without = modules_after(pytester)
    loaded = modules_after(pytester, "-p", "loopsafe") - without

    assert "asyncio" not in without, "pytest imports asyncio itself: this test proves nothing"
    packages = {name.partition(".")[0] for name in loaded}
    assert packages <= {"pytest_loopsafe"}
    assert {name for name in loaded if name.startswith("pytest_loopsafe")} <= {
        "pytest_loopsafe",
        "pytest_loopsafe.plugin",
        "pytest_loopsafe._plugin",
        "pytest_loopsafe._plugin.declared",
        "pytest_loopsafe._plugin.github",
        "pytest_loopsafe._plugin.newhooks",
        "pytest_loopsafe._plugin.outputs",
        "pytest_loopsafe._words",
        "pytest_loopsafe._words.clock",
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
