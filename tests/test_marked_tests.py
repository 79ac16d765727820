"""``@pytest.mark.multi_loop``: how a marked test runs, and what makes it fail."""

import re

import pytest

INTERRUPTED = pytest.ExitCode.INTERRUPTED


def run_marked(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    """Run these tests in this process."""
    pytester.makepyfile(test_shop=source)
    return pytester.runpytest_inprocess(*arguments)


def run_apart(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    """Run these tests in a process of their own: they do something to it."""
    pytester.makepyfile(test_shop=source)
    return pytester.runpytest_subprocess(*arguments, timeout=60)


def letters(result: pytest.RunResult) -> str:
    """The progress letters, in the order of the tests."""
    lines = re.findall(r"^(?:test_\w+\.py )?([.LFEsxX]+) +\[ *\d+%\]$", result.stdout.str(), re.M)
    return "".join(lines)


# -- passes and loops --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "passes", "loops"),
    [
        ("", 3, 3),
        ("1", 1, 1),
        ("loops=4", 4, 4),
        ("loops=4, schedule='recycled'", 4, 4),
        ("loops=4, schedule='persistent'", 4, 1),
    ],
)
def test_an_async_test_runs_once_in_each_loop(
    pytester: pytest.Pytester, arguments: str, passes: int, loops: int
) -> None:
    result = run_marked(
        pytester,
        f"""
        import asyncio
        import pytest

        calls = []
        seen = {{}}

        @pytest.mark.multi_loop({arguments})
        async def test_order():
            loop = asyncio.get_running_loop()
            if not hasattr(loop, "serial"):
                loop.serial = len(seen)
            seen[loop.serial] = True
            calls.append(loop.serial)

        def test_what_happened():
            assert len(calls) == {passes}
            assert len(seen) == {loops}
        """,
    )

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "persistent"])
def test_a_sync_test_is_called_once_for_each_loop_and_makes_its_own(
    pytester: pytest.Pytester, schedule: str
) -> None:
    result = run_marked(
        pytester,
        f"""
        import asyncio
        import pytest

        calls = []

        @pytest.mark.multi_loop(loops=4, schedule={schedule!r})
        def test_order():
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            asyncio.run(asyncio.sleep(0))
            calls.append(1)

        def test_what_happened():
            assert len(calls) == 4
        """,
    )

    result.assert_outcomes(passed=2)


def test_a_loop_has_ended_in_order_before_the_next_begins(pytester: pytest.Pytester) -> None:
    result = run_marked(
        pytester,
        """
        import asyncio
        import pytest

        ended = []
        tidied = []

        async def ticker():
            try:
                while True:
                    yield 1
            finally:
                tidied.append("generator")

        async def background():
            try:
                await asyncio.sleep(3600)
            finally:
                tidied.append("task")

        kept = []

        @pytest.mark.multi_loop(loops=3, ignore="LS3")
        async def test_order():
            assert len(tidied) == 2 * len(ended)
            assert all(loop.is_closed() for loop in ended)
            ended.append(asyncio.get_running_loop())
            task = asyncio.create_task(background())
            generator = ticker()
            kept.append((task, generator))
            await anext(generator)
        """,
    )

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("schedule", ["consecutive", "persistent"])
def test_concurrency_gathers_that_many_calls_in_each_loop(
    pytester: pytest.Pytester, schedule: str
) -> None:
    result = run_marked(
        pytester,
        f"""
        import asyncio
        import pytest

        met = []

        @pytest.mark.multi_loop(loops=3, concurrency=4, schedule={schedule!r})
        async def test_order():
            loop = asyncio.get_running_loop()
            if not met or met[-1]["loop"] is not loop or met[-1]["arrived"] == 4:
                met.append({{"loop": loop, "arrived": 0, "all": loop.create_future()}})
            here = met[-1]
            here["arrived"] += 1
            if here["arrived"] == 4:
                here["all"].set_result(None)
            await here["all"]  # only calls that run at the same time get past this

        def test_what_happened():
            assert [here["arrived"] for here in met] == [4, 4, 4]
        """,
    )

    result.assert_outcomes(passed=2)


def test_one_failing_call_of_several_fails_the_test(pytester: pytest.Pytester) -> None:
    result = run_marked(
        pytester,
        """
        import pytest

        calls = []

        @pytest.mark.multi_loop(loops=2, concurrency=3)
        async def test_order():
            calls.append(1)
            assert len(calls) != 5, "the fifth call"
        """,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: the fifth call*", "*pass 2 of 2*"])


# -- what a test function may be ---------------------------------------------------------------


def test_parameters_and_fixtures_are_given_as_to_any_test(pytester: pytest.Pytester) -> None:
    result = run_marked(
        pytester,
        """
        import pytest

        events = []

        @pytest.fixture
        def basket():
            events.append("set up")
            yield ["apple"]
            events.append("torn down")

        @pytest.fixture(autouse=True)
        def unnamed():
            yield

        @pytest.mark.parametrize("number", [1, 2])
        @pytest.mark.multi_loop(loops=3)
        async def test_async(number, basket, tmp_path):
            assert tmp_path.is_dir()
            assert basket == ["apple"]
            events.append(number)

        @pytest.mark.multi_loop(loops=2, ok_without_loops=True)
        def test_sync(basket):
            events.append("sync")

        def test_what_happened():
            up, down = "set up", "torn down"
            assert events == [up, 1, 1, 1, down, up, 2, 2, 2, down, up, "sync", "sync", down]
        """,
    )

    result.assert_outcomes(passed=4)


def test_a_default_argument_stays(pytester: pytest.Pytester) -> None:
    result = run_marked(
        pytester,
        """
        import pytest

        @pytest.mark.multi_loop
        async def test_order(number=7):
            assert number == 7
        """,
    )

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("kind", ["", "@staticmethod", "@classmethod"])
def test_methods_get_the_instance_that_pytest_made(pytester: pytest.Pytester, kind: str) -> None:
    owner = {"": "self, ", "@staticmethod": "", "@classmethod": "cls, "}[kind]
    result = run_marked(
        pytester,
        f"""
        import pytest

        calls = []

        class TestShop:
            def setup_method(self):
                self.ready = True

            @pytest.mark.multi_loop(2)
            {kind}
            async def test_order({owner}tmp_path):
                calls.append({owner.rstrip(", ") or None})

        def test_what_happened():
            assert len(calls) == 2
            assert calls[0] is calls[1]
            assert {kind != ""!r} or calls[0].ready
        """,
    )

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    "decorator",
    [
        "functools.wraps(function)(lambda *a, **k: function(*a, **k))",
        "functools.wraps(function)(functools.partial(function))",
    ],
    ids=["a plain function that returns the coroutine", "a partial"],
)
def test_a_decorated_async_test_is_not_taken_for_one_that_passed(
    pytester: pytest.Pytester, decorator: str
) -> None:
    """Its coroutine runs in each loop, or the test fails: it is never dropped unawaited."""
    result = run_apart(
        pytester,
        f"""
        import functools
        import pytest

        def decorated(function):
            return {decorator}

        @pytest.mark.multi_loop(2)
        @decorated
        async def test_order():
            raise AssertionError("the body ran")
        """,
    )

    result.assert_outcomes(failed=1)


# -- findings ----------------------------------------------------------------------------------


def test_a_swallowed_hazard_fails_the_test_as_loop_unsafe(app: pytest.Pytester) -> None:
    result = run_marked(
        app,
        """
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_publish():
            await app.publish()

        @pytest.mark.multi_loop
        async def test_greet():
            await app.greet()
        """,
    )

    result.assert_outcomes(failed=1, passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert letters(result) == "L."
    result.stdout.fnmatch_lines(
        [
            "*_ test_publish _*",
            "app.connection (Future) belongs to loop 1 and is used in loop 2",
            "  LS101 cross-loop-await (swallowed)*in loop 2 *awaited a Future of loop 1 (closed)*",
            "*app.py:* in publish * await connection",
            "*swallowed:*app.py*in publish*except RuntimeError*",
            "*remedy:*",
            "what it means: *explain LS101 *ignore=?'LS101'?",
            "*= loopsafe report =*",
            "LS101 cross-loop-await*1 error in 1 test",
            "LOOP UNSAFE test_shop.py::test_publish - LS101 cross-loop-await at app.py:*",
        ]
    )


def test_the_report_of_a_loop_unsafe_test_is_the_hazard_and_not_the_plugin(
    app: pytest.Pytester,
) -> None:
    result = run_marked(
        app,
        """
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_publish():
            await app.publish()
        """,
    )

    told = result.stdout.str()
    assert "pytest_loopsafe/" not in told
    assert "Traceback" not in told
    assert "raise " not in told


def test_a_swallowed_hazard_in_a_sync_test_fails_it_too(app: pytest.Pytester) -> None:
    result = run_marked(
        app,
        """
        import asyncio
        import pytest
        import app

        @pytest.mark.multi_loop
        def test_publish():
            asyncio.run(app.publish())
        """,
    )

    result.assert_outcomes(failed=1)
    assert letters(result) == "L"


@pytest.mark.parametrize(
    ("code", "hazard"),
    [
        ("LS103", "loops[0].call_soon(int)"),
    ],
    ids=["closed-loop-call"],
)
def test_one_hazard_met_in_several_passes_is_one_finding(
    pytester: pytest.Pytester, code: str, hazard: str
) -> None:
    result = run_marked(
        pytester,
        f"""
        import asyncio
        import pytest

        loops = []
        made = []

        @pytest.mark.multi_loop(loops=5)
        async def test_order():
            if not loops:
                loops.append(asyncio.get_running_loop())
                made.append(loops[0].create_future())
                return
            try:
                {hazard}
            except Exception:
                pass
        """,
    )

    told = result.stdout.str()
    assert len(re.findall(r"^ *LS\d+ \S+ \(swallowed\)", told, re.M)) == 1
    result.stdout.fnmatch_lines([f"*{code}*in passes 2, 3, 4, 5*seen 4 times*"])


def test_the_codes_own_exception_is_reported_as_ever_with_the_findings_beside_it(
    app: pytest.Pytester,
) -> None:
    result = run_marked(
        app,
        """
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_publish():
            await app.publish_loudly()
        """,
    )

    result.assert_outcomes(failed=1)
    assert letters(result) == "F"
    result.stdout.fnmatch_lines(
        [
            "*await app.publish_loudly()*",
            "E *RuntimeError: Task * attached to a different loop*",
            "*raised in passes 2, 3 of 3*LS101*",
            "*- loopsafe -*",
            "LS101 cross-loop-await *",
            "*FAILED test_shop.py::test_publish - RuntimeError: Task *",
        ]
    )
    result.stdout.no_fnmatch_line("*LS101*(swallowed)*")
    # The error's own text may name asyncio's files (in debug mode); the traceback must not.
    places = [line.split(":")[0] for line in result.outlines if not line.startswith(("E", "F"))]
    assert not [place for place in places if place.endswith(("runners.py", "base_events.py"))]
    assert "pytest_loopsafe/" not in result.stdout.str()


def test_an_assertion_that_fails_beside_a_swallowed_hazard_keeps_its_own_report(
    app: pytest.Pytester,
) -> None:
    """pytest's assertion rewriting, the values compared, and the finding that explains them."""
    result = run_marked(
        app,
        """
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_publish():
            assert await app.publish() == "sent"
        """,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*assert await app.publish() == ?sent?*",
            "E *'lost' == 'sent'*",
            "*- loopsafe -*",
            "  LS101 cross-loop-await (swallowed)*",
        ]
    )


@pytest.mark.parametrize(
    ("failing", "note"),
    [
        ("number == 2", "raised in pass 2 of 3"),
        ("number != 1", "raised in passes 2, 3 of 3"),
        ("True", "raised in each of 3 passes"),
    ],
)
def test_a_note_says_in_which_passes_an_exception_was_raised(
    pytester: pytest.Pytester, failing: str, note: str
) -> None:
    result = run_marked(
        pytester,
        f"""
        import pytest

        number = 0

        @pytest.mark.multi_loop
        async def test_order():
            global number
            number += 1
            assert not {failing}, "out of apples"
        """,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *out of apples*", f"*{note}*nothing found*"])


def test_a_clean_failure_has_no_section_of_ours(pytester: pytest.Pytester) -> None:
    result = run_marked(
        pytester,
        """
        import pytest

        @pytest.mark.multi_loop
        async def test_order():
            assert 1 == 2
        """,
    )

    result.stdout.no_fnmatch_line("*- loopsafe -*")
    result.stdout.no_fnmatch_line("*loopsafe report*")


def test_a_warning_is_reported_and_the_test_passes(app: pytest.Pytester) -> None:
    result = run_marked(
        app,
        """
        import pytest
        import app

        @pytest.mark.multi_loop
        def test_leaves_something_open():
            app.leave_open()
        """,
    )

    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    assert letters(result) == "."
    result.stdout.fnmatch_lines(
        [
            "*= loopsafe report =*",
            "LS303 transport-left-open*warning*in 1 test",
            "*test_shop.py::test_leaves_something_open: LS303: *",
        ]
    )


def test_strict_makes_a_warning_an_error(app: pytest.Pytester) -> None:
    result = run_marked(
        app,
        """
        import pytest
        import app

        @pytest.mark.multi_loop(strict=True)
        def test_leaves_something_open():
            app.leave_open()
        """,
    )

    result.assert_outcomes(failed=1)
    assert letters(result) == "L"
    result.stdout.fnmatch_lines(["LS303 transport-left-open*error*in 1 test"])


# -- verbosity ---------------------------------------------------------------------------------

TWO_TESTS = """
    import pytest
    import app

    @pytest.mark.multi_loop
    async def test_publish():
        await app.publish()

    @pytest.mark.multi_loop
    def test_leaves_something_open():
        app.leave_open()

    @pytest.mark.multi_loop
    async def test_greet():
        await app.greet()
"""


def test_quietly_there_is_no_summary_but_the_failure_is_told(app: pytest.Pytester) -> None:
    result = run_marked(app, TWO_TESTS, "-q")

    result.stdout.no_fnmatch_line("*loopsafe report*")
    result.stdout.fnmatch_lines(
        ["L..*", "app.connection (Future) belongs to loop 1 *  LS101 at app.py:*"]
    )


def test_by_default_the_summary_counts_rules_and_names_the_tests_with_warnings(
    app: pytest.Pytester,
) -> None:
    result = run_marked(app, TWO_TESTS)

    told = result.stdout.str()
    summary = told[told.index("loopsafe report") : told.index("short test summary")]
    assert re.search(r"^LS101 cross-loop-await +1 error in 1 test$", summary, re.M)
    assert re.search(r"^LS303 transport-left-open +\d warnings? in 1 test$", summary, re.M)
    assert "test_leaves_something_open: LS303" in summary
    assert "test_publish" not in summary  # it has a report of its own above
    assert "test_greet" not in summary


def test_verbosely_the_outcome_is_a_word_and_the_summary_names_every_finding(
    app: pytest.Pytester,
) -> None:
    result = run_marked(app, TWO_TESTS, "-v")

    result.stdout.fnmatch_lines(
        [
            "test_shop.py::test_publish LOOP UNSAFE*",
            "test_shop.py::test_leaves_something_open PASSED*",
            "test_shop.py::test_greet PASSED*",
            "*= loopsafe report =*",
            "*test_shop.py::test_publish: LS101: *",
        ]
    )


def test_where_nothing_was_found_there_is_no_summary(pytester: pytest.Pytester) -> None:
    result = run_marked(
        pytester,
        """
        import pytest

        @pytest.mark.multi_loop
        async def test_order():
            pass
        """,
        "-v",
    )

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*loopsafe report*")


@pytest.mark.parametrize("style", ["long", "short", "line", "native", "no"])
def test_every_traceback_style_works(app: pytest.Pytester, style: str) -> None:
    result = run_marked(app, TWO_TESTS, f"--tb={style}")

    result.assert_outcomes(failed=1, passed=2)
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    result.stdout.fnmatch_lines(["LOOP UNSAFE test_shop.py::test_publish - LS101*"])
    result.stdout.no_fnmatch_line("*object at 0x*")


def test_without_a_terminal_the_test_fails_all_the_same(app: pytest.Pytester) -> None:
    result = run_marked(app, TWO_TESTS, "-p", "no:terminal")

    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_the_junit_report_has_the_finding(app: pytest.Pytester) -> None:
    run_marked(app, TWO_TESTS, "--junitxml=report.xml")

    text = (app.path / "report.xml").read_text()
    assert 'failures="1"' in text
    assert 'message="LS101 cross-loop-await' in text
    assert "swallowed" in text


# -- pytest's own outcomes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raises", "strict", "outcome"),
    [
        ("pytest_loopsafe.LoopSafetyError", True, "xfailed"),
        ("AssertionError", True, "xfailed"),
        ("KeyError", True, "failed"),
    ],
)
def test_xfail_with_raises_is_respected(
    app: pytest.Pytester, raises: str, strict: bool, outcome: str
) -> None:
    result = run_marked(
        app,
        f"""
        import pytest
        import pytest_loopsafe
        import app

        @pytest.mark.xfail(raises={raises}, strict={strict})
        @pytest.mark.multi_loop
        async def test_publish():
            await app.publish()
        """,
    )

    result.assert_outcomes(**{outcome: 1})
    assert letters(result) == {"xfailed": "x", "failed": "L"}[outcome]


def test_a_clean_test_that_is_expected_to_fail_passes_unexpectedly(
    app: pytest.Pytester,
) -> None:
    result = run_marked(
        app,
        """
        import pytest
        import app

        @pytest.mark.xfail(strict=True)
        @pytest.mark.multi_loop
        async def test_greet():
            await app.greet()
        """,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*"])


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        ("pytest.skip('no stock')", "skipped"),
        ("pytest.xfail('no stock')", "xfailed"),
        ("pytest.fail('no stock')", "failed"),
        ("pytest.importorskip('no_such_shop', reason='no stock')", "skipped"),
    ],
)
def test_pytests_outcomes_work_in_the_body_and_end_the_test_at_once(
    pytester: pytest.Pytester, kind: str, call: str, outcome: str
) -> None:
    result = run_marked(
        pytester,
        f"""
        import pytest

        calls = []

        @pytest.mark.multi_loop
        {kind} test_order():
            calls.append(1)
            {call}

        def test_what_happened():
            assert len(calls) == 1
        """,
        "-rA",
    )

    result.assert_outcomes(**{outcome: 1, "passed": 1})
    result.stdout.fnmatch_lines(["*no stock*"])


def test_a_skip_in_a_later_pass_does_not_hide_what_was_found_before(
    app: pytest.Pytester,
) -> None:
    result = run_marked(
        app,
        """
        import pytest
        import app

        calls = []

        @pytest.mark.multi_loop
        async def test_publish():
            calls.append(1)
            await app.publish()
            if len(calls) == 3:
                pytest.skip("no stock")
        """,
    )

    result.stdout.fnmatch_lines(["LS101 cross-loop-await*1 error in 1 test"])


def test_skip_marks_mean_that_nothing_runs(pytester: pytest.Pytester) -> None:
    result = run_marked(
        pytester,
        """
        import pytest

        @pytest.mark.skip
        @pytest.mark.multi_loop
        async def test_order():
            raise AssertionError
        """,
    )

    result.assert_outcomes(skipped=1)


def test_a_fixture_that_fails_is_an_error_of_the_setup(pytester: pytest.Pytester) -> None:
    result = run_marked(
        pytester,
        """
        import pytest

        @pytest.fixture
        def broken():
            raise ValueError("no stock")

        @pytest.mark.multi_loop
        async def test_order(broken):
            pass
        """,
    )

    result.assert_outcomes(errors=1)
    assert letters(result) == "E"


# -- ends that are none of the test's business -------------------------------------------------


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_systemexit_fails_the_test_and_the_next_one_runs(app: pytest.Pytester, kind: str) -> None:
    result = run_marked(
        app,
        f"""
        import pytest
        import app

        @pytest.mark.multi_loop
        {kind} test_order():
            raise SystemExit(3)

        @pytest.mark.multi_loop
        async def test_greet():
            await app.greet()
        """,
    )

    result.assert_outcomes(failed=1, passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["E *SystemExit: 3*"])


@pytest.mark.parametrize(
    "body",
    [
        "async def test_publish():\n    await app.publish()",
        "def test_publish():\n    asyncio.run(app.publish())",
    ],
    ids=["async", "sync"],
)
def test_ctrl_c_ends_the_session_and_what_was_found_until_then_is_told(
    app: pytest.Pytester, body: str
) -> None:
    source = (
        "import asyncio\nimport pytest\nimport app\n\ncalls = []\n\n"
        f"@pytest.mark.multi_loop\n{body}\n"
        "    calls.append(1)\n"
        "    if len(calls) == 3:\n"
        "        raise KeyboardInterrupt\n\n"
        "def test_never_reached():\n    pass\n"
    )

    result = run_apart(app, source)

    assert result.ret == INTERRUPTED
    assert result.parseoutcomes().get("passed", 0) == 0
    result.stdout.fnmatch_lines(["*KeyboardInterrupt*"])
    result.stdout.fnmatch_lines(["*LS101 cross-loop-await*"])


def test_pytest_exit_in_the_body_ends_the_session(app: pytest.Pytester) -> None:
    result = run_marked(
        app,
        """
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_order():
            pytest.exit("closing time", returncode=7)

        def test_never_reached():
            pass
        """,
    )

    assert result.ret == 7
    result.stdout.fnmatch_lines(["*closing time*"])


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_os_exit_in_the_body_has_a_visible_last_word(app: pytest.Pytester, capture: str) -> None:
    """The process ends, as it would without the plugin; but not in silence."""
    result = run_apart(
        app,
        """
        import os
        import pytest
        import app

        calls = []

        @pytest.mark.multi_loop
        async def test_publish():
            calls.append(1)
            await app.publish()
            if len(calls) == 3:
                os._exit(5)
        """,
        f"--capture={capture}",
    )

    assert result.ret == 5
    result.stderr.fnmatch_lines(["  LS101 cross-loop-await*", "*os._exit(5) in pass 3*"])


def test_os_exit_in_a_child_is_the_childs_own_affair(pytester: pytest.Pytester) -> None:
    result = run_apart(
        pytester,
        """
        import os
        import pytest

        @pytest.mark.multi_loop(2, ok_without_loops=True)
        def test_order():
            child = os.fork()
            if child == 0:
                os._exit(7)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 7
        """,
    )

    result.assert_outcomes(passed=1)
    assert "os._exit" not in result.stderr.str()


# -- what a body may do to loops and to asyncio ------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("asyncio.get_running_loop().close()", "Cannot close a running event loop"),
        ("asyncio.get_running_loop().stop(); await asyncio.sleep(3600)", "stopped before"),
    ],
    ids=["close", "stop"],
)
def test_a_body_that_ends_its_own_loop_fails_in_pythons_words_and_harms_no_other(
    app: pytest.Pytester, ending: str, message: str
) -> None:
    result = run_marked(
        app,
        f"""
        import asyncio
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_order():
            {ending}

        @pytest.mark.multi_loop
        async def test_greet():
            await app.greet()
        """,
    )

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines([f"E *RuntimeError: *{message}*"])


def test_a_sync_body_may_make_and_close_its_loops_by_hand(pytester: pytest.Pytester) -> None:
    result = run_marked(
        pytester,
        """
        import asyncio
        import pytest

        @pytest.mark.multi_loop
        def test_order():
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(asyncio.sleep(0))
            finally:
                loop.close()
            loop.close()
        """,
    )

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*loopsafe report*")


def test_a_thread_that_outlives_the_test_is_not_waited_for(pytester: pytest.Pytester) -> None:
    result = run_marked(
        pytester,
        """
        import threading
        import pytest

        finish = threading.Event()
        threads = []

        @pytest.mark.multi_loop(2)
        async def test_order():
            threads.append(threading.Thread(target=finish.wait, args=(30,)))
            threads[-1].start()

        def test_they_still_run():
            assert [thread.is_alive() for thread in threads] == [True, True]
            finish.set()
            for thread in threads:
                thread.join(30)
        """,
    )

    result.assert_outcomes(passed=2)


def test_a_thread_that_uses_its_loop_after_the_test_sees_plain_asyncio(
    pytester: pytest.Pytester,
) -> None:
    """A thread's loop began while the test was watched and goes on when nobody watches it."""
    result = run_marked(
        pytester,
        """
        import asyncio
        import threading
        import pytest

        started, finish = threading.Event(), threading.Event()
        outcome = []

        async def serve():
            lock = asyncio.Lock()
            started.set()
            await asyncio.get_running_loop().run_in_executor(None, finish.wait, 30)
            async with lock:
                await asyncio.sleep(0)
            outcome.append("served")

        thread = threading.Thread(target=lambda: asyncio.run(serve()))

        @pytest.mark.multi_loop(1)
        def test_order():
            thread.start()
            assert started.wait(30)

        def test_afterwards():
            finish.set()
            thread.join(30)
            assert outcome == ["served"]
        """,
    )

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("asyncio", "sleep"),
        ("asyncio.base_events.BaseEventLoop", "call_soon"),
        ("asyncio.BaseEventLoop", "_check_closed"),
        ("asyncio", "new_event_loop"),
        ("asyncio", "ensure_future"),
        ("asyncio", "wait"),
        ("asyncio.Lock", "acquire"),
        ("asyncio.Event", "set"),
        ("asyncio.Queue", "get"),
    ],
)
def test_what_the_body_patches_and_leaves_patched_stays_theirs(
    app: pytest.Pytester, owner: str, name: str
) -> None:
    result = run_apart(
        app,
        f"""
        import asyncio
        import pytest
        import app

        calls = []
        theirs = []
        unpatched = vars({owner})[{name!r}]

        @pytest.mark.multi_loop(loops=2)
        async def test_patches():
            if theirs:
                return
            original = vars({owner})[{name!r}]

            def patched(*args, **kwargs):
                calls.append(1)
                return original(*args, **kwargs)

            {owner}.{name} = patched
            theirs.append(patched)

        def test_theirs_stays():
            assert vars({owner})[{name!r}] is theirs[0]

        @pytest.mark.multi_loop
        async def test_others_are_still_judged():
            await app.publish()

        @pytest.mark.multi_loop
        async def test_and_still_pass():
            async with asyncio.Lock():
                await asyncio.sleep(0)
            asyncio.Event().set()
            queue = asyncio.Queue()
            queue.put_nowait(1)
            await queue.get()
            await asyncio.wait([asyncio.create_task(asyncio.sleep(0))])

        def test_theirs_is_still_called():
            assert vars({owner})[{name!r}] is theirs[0]
            del calls[:]
            async def use():
                lock, event, queue = asyncio.Lock(), asyncio.Event(), asyncio.Queue()
                await lock.acquire()
                event.set()
                queue.put_nowait(1)
                await queue.get()
                await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0))])
            loop = asyncio.new_event_loop()
            loop.run_until_complete(use())
            loop.close()
            assert calls
        """,
        "-v",
    )

    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*test_others_are_still_judged LOOP UNSAFE*"])


def test_what_the_body_patches_and_puts_back_leaves_nothing(app: pytest.Pytester) -> None:
    result = run_marked(
        app,
        """
        import asyncio
        import pytest

        before = vars(asyncio.BaseEventLoop)["call_soon"], asyncio.sleep

        @pytest.mark.multi_loop
        async def test_patches(monkeypatch):
            with monkeypatch.context() as patch:
                patch.setattr(asyncio, "sleep", None)
                patch.setattr(asyncio.BaseEventLoop, "call_soon", asyncio.BaseEventLoop.call_soon)

        def test_as_before():
            assert (vars(asyncio.BaseEventLoop)["call_soon"], asyncio.sleep) == before
        """,
    )

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    "setting",
    [
        "loop.set_task_factory(lambda loop, coro, **k: asyncio.Task(coro, loop=loop, **k))",
        "loop.set_exception_handler(lambda loop, context: None)",
        "loop.set_debug(True)",
        "loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))",
    ],
)
def test_a_body_may_set_its_loop_up_and_is_judged_all_the_same(
    app: pytest.Pytester, setting: str
) -> None:
    result = run_marked(
        app,
        f"""
        import asyncio
        import concurrent.futures
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_greet():
            loop = asyncio.get_running_loop()
            {setting}
            await asyncio.create_task(app.greet())

        @pytest.mark.multi_loop
        async def test_publish():
            loop = asyncio.get_running_loop()
            {setting}
            await asyncio.create_task(app.publish())
        """,
    )

    result.assert_outcomes(passed=1, failed=1)
    assert letters(result) == ".L"


@pytest.mark.skipif("sys.version_info >= (3, 12)", reason="eager tasks came with Python 3.12")
def test_without_eager_tasks_there_is_no_eager_task_factory(pytester: pytest.Pytester) -> None:
    import asyncio

    assert not hasattr(asyncio, "eager_task_factory")


@pytest.mark.skipif("sys.version_info < (3, 12)", reason="eager tasks came with Python 3.12")
def test_eager_tasks_are_judged_too(app: pytest.Pytester) -> None:
    result = run_marked(
        app,
        """
        import asyncio
        import pytest
        import app

        def eager(function):
            async def call():
                asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
                await asyncio.create_task(function())
            return call

        @pytest.mark.multi_loop
        async def test_greet():
            await eager(app.greet)()

        @pytest.mark.multi_loop
        async def test_publish():
            await eager(app.publish)()
        """,
    )

    result.assert_outcomes(passed=1, failed=1)
    assert letters(result) == ".L"


def test_a_policy_that_the_body_sets_stays_theirs(pytester: pytest.Pytester) -> None:
    result = run_apart(
        pytester,
        """
        import asyncio
        import pytest

        class Policy(asyncio.DefaultEventLoopPolicy):
            pass

        policy = Policy()

        @pytest.mark.multi_loop
        async def test_order():
            asyncio.set_event_loop_policy(policy)
            await asyncio.sleep(0)

        def test_theirs_stays():
            assert asyncio.get_event_loop_policy() is policy
            asyncio.run(asyncio.sleep(0))
        """,
    )

    result.assert_outcomes(passed=2)


# -- loop factories ----------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "persistent"])
@pytest.mark.parametrize(
    ("factory", "returned"),
    [
        ("lambda: None", "NoneType instead of an event loop"),
        ("lambda: 'a loop'", "str instead of an event loop"),
        ("closed", "a closed event loop"),
        ("running", "a running event loop"),
    ],
)
def test_a_loop_factory_that_returns_no_fresh_loop_is_a_clear_failure(
    pytester: pytest.Pytester, schedule: str, factory: str, returned: str
) -> None:
    result = run_marked(
        pytester,
        f"""
        import asyncio
        import threading
        import pytest

        service = asyncio.new_event_loop()

        @pytest.fixture(scope="module", autouse=True)
        def a_loop_that_runs_in_a_thread():
            started = threading.Event()
            thread = threading.Thread(target=service.run_forever)
            service.call_soon(started.set)
            thread.start()
            assert started.wait(30)
            yield
            service.call_soon_threadsafe(service.stop)
            thread.join(30)
            service.close()

        def closed():
            loop = asyncio.new_event_loop()
            loop.close()
            return loop

        def running():
            return service

        @pytest.mark.multi_loop(schedule={schedule!r}, loop_factory={factory})
        async def test_order():
            raise AssertionError("never called")

        @pytest.mark.multi_loop
        async def test_others():
            await asyncio.sleep(0)
        """,
    )

    result.assert_outcomes(failed=1, passed=1)
    told = result.stdout.str()
    assert re.search(rf"loop_factory=\S+ returned {returned}", told)
    assert "a new event loop on each call" in told
    assert "never called" not in told
    assert "schedules.py" not in told


def test_a_loop_factory_that_returns_the_same_loop_twice_is_a_clear_failure(
    pytester: pytest.Pytester,
) -> None:
    result = run_marked(
        pytester,
        """
        import asyncio
        import pytest

        only = asyncio.new_event_loop()

        def shared():
            return only

        @pytest.mark.multi_loop(loop_factory=shared)
        async def test_order():
            await asyncio.sleep(0)
        """,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*loop_factory=shared returned a closed event loop*"])


@pytest.mark.parametrize("schedule", ["consecutive", "persistent"])
def test_a_loop_factory_that_raises_fails_the_test_in_its_own_words(
    pytester: pytest.Pytester, schedule: str
) -> None:
    result = run_marked(
        pytester,
        f"""
        import pytest

        def broken():
            raise OSError("too many open files")

        @pytest.mark.multi_loop(schedule={schedule!r}, loop_factory=broken)
        async def test_order():
            pass
        """,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *OSError: too many open files*"])


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "persistent"])
@pytest.mark.parametrize("base", ["asyncio.SelectorEventLoop", "uvloop.Loop"])
def test_a_loop_factory_makes_every_loop_and_its_loops_are_watched(
    app: pytest.Pytester, schedule: str, base: str
) -> None:
    pytest.importorskip(base.partition(".")[0])
    result = run_marked(
        app,
        f"""
        import asyncio
        import {base.partition(".")[0]}
        import pytest
        import app

        class Loop({base}):
            '''A class that nobody knew of before.'''

        seen = []

        @pytest.mark.multi_loop(schedule={schedule!r}, loop_factory=Loop)
        async def test_greet():
            seen.append(type(asyncio.get_running_loop()))
            await app.greet()

        @pytest.mark.multi_loop(schedule="consecutive", loop_factory=Loop)
        async def test_publish():
            await app.publish()

        def test_all_loops_were_of_that_class():
            assert seen == [Loop] * 3
        """,
    )

    result.assert_outcomes(passed=2, failed=1)
    assert letters(result) == ".L."
