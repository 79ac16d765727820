"""What pytest's own channels show of findings: JUnit, annotations, reruns, subtests, quiet runs."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

TESTS = """
    import asyncio
    import pytest
    import app

    queue = None

    @pytest.mark.multi_loop
    async def test_publish():
        await app.publish()

    @pytest.mark.multi_loop
    async def test_takes():
        global queue
        if queue is None:
            queue = asyncio.Queue()
        try:
            await asyncio.wait_for(queue.get(), 0.001)
        except TimeoutError:
            pass

    @pytest.mark.multi_loop
    async def test_forgets_a_task():
        asyncio.create_task(asyncio.sleep(5))
"""

READS_REPORTS = """
    import os

    def pytest_runtest_logreport(report):
        if report.when == "call" and report.failed and not os.environ.get("PYTEST_XDIST_WORKER"):
            longrepr = report.longrepr
            for place in (longrepr.reprcrash, longrepr.reprtraceback.reprentries[-1].reprfileloc):
                name = type(longrepr).__module__, os.path.basename(place.path), place.lineno
                print("\\nPLACE", *name, place.message.partition(" at ")[0])
"""


def line_of(path: Path, text: str) -> int:
    return path.read_text().splitlines().index(text) + 1


@pytest.mark.parametrize("processes", [0, 2])
def test_the_place_and_the_headline_are_in_pytests_own_classes(
    app: pytest.Pytester, processes: int
) -> None:
    app.makepyfile(test_shop=TESTS)
    app.makeconftest(READS_REPORTS)
    options = ["-s", f"-n{processes}", "--junitxml=junit.xml", "--color=yes", "-k", "publish"]
    if processes:
        pytest.importorskip("xdist")

    result = app.runpytest_subprocess(*(options if processes else (options[0], *options[2:])))

    line = line_of(app.path / "app.py", "        await connection")
    place = f"PLACE _pytest._code.code app.py {line} LS101 cross-loop-await"
    assert [one for one in result.outlines if "PLACE" in one][-2:] == [place] * 2
    result.stdout.re_match_lines([r".*\x1b\[31m.*LS101 cross-loop-await \(swallowed\)\x1b"])
    case: Any = ET.parse(app.path / "junit.xml").find(".//testcase")
    failure = case.find("failure")
    assert failure.get("message") == f"LS101 cross-loop-await at app.py:{line}, swallowed"
    assert "remedy:" in failure.text
    assert "\x1b" not in failure.text
    assert "#x1B" not in failure.text
    assert {one.get("name"): one.get("value") for one in case.iter("property")} == {
        "loopsafe": f"LS101 cross-loop-await at app.py:{line}, swallowed (app.connection)"
    }


def test_a_place_line_names_the_finding(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=TESTS)

    result = app.runpytest_inprocess("--tb=line", "-k", "publish")

    result.stdout.fnmatch_lines([f"{app.path / 'app.py'}:*: LS101 cross-loop-await at app.py:*"])


def test_no_frame_of_the_plugins_is_in_the_middle_of_a_traceback(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=TESTS)

    result = app.runpytest_inprocess("-k", "takes", "--tb=short")

    result.assert_outcomes(failed=1)
    told = result.stdout.str()
    traceback = told[told.index("test_takes _") : told.index("- loopsafe -")]
    assert "is bound to a different event loop" in traceback
    assert "pytest_loopsafe" not in traceback


def test_quietly_a_line_tells_of_what_failed_no_test(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=TESTS)

    result = app.runpytest_inprocess("-q", "-k", "forgets or publish")

    assert [one for one in result.outlines if one.startswith("loopsafe: 1")] == [
        "loopsafe: 1 warning in 1 test (LS301)"
    ]
    assert "loopsafe: 1" not in app.runpytest_inprocess("-qq", "-k", "forgets").stdout.str()


RERUNS = """
    import pytest
    import app

    def pytest_runtest_protocol(item, nextitem):
        '''As pytest-rerunfailures does: what failed is reported as a rerun, and run again.'''
        from _pytest.runner import runtestprotocol

        for again in (True, True, False):
            item._initrequest()
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            failed = any(report.failed for report in reports)
            for report in reports:
                if again and report.failed:
                    report.outcome = "rerun"
                item.ihook.pytest_runtest_logreport(report=report)
            if not (again and failed):
                return True

    def pytest_report_teststatus(report):
        if report.outcome == "rerun":
            return "rerun", "R", "RERUN"
"""


def test_a_test_that_is_run_again_has_one_verdict(app: pytest.Pytester) -> None:
    app.makeconftest(RERUNS)
    app.makepyfile(
        test_shop="""
        import asyncio
        import pytest
        import app

        queue = asyncio.Queue()
        calls = 0

        async def take():
            try:
                await asyncio.wait_for(queue.get(), 0.001)
            except (TimeoutError, RuntimeError):
                pass

        @pytest.mark.multi_loop
        async def test_never_heals():
            await take()

        @pytest.mark.multi_loop(loops=2)
        async def test_heals():
            global calls
            calls += 1
            if calls <= 2:
                await take()
        """
    )

    result = app.runpytest_inprocess("--loopsafe-json=report.json", "--junitxml=junit.xml")

    assert "RRLR." in result.stdout.str()
    result.stdout.fnmatch_lines(["LS102 foreign-primitive*2 errors in 2 tests"])
    tests = json.loads((app.path / "report.json").read_text())["tests"]
    assert [(one["outcome"], one["loops"], len(one["findings"])) for one in tests] == [
        ("rerun", 3, 1),
        ("rerun", 3, 1),
        ("failed", 3, 1),
        ("rerun", 2, 1),
        ("passed", 2, 0),
    ]
    cases = ET.parse(app.path / "junit.xml").iter("testcase")
    assert [len(list(case.iter("property"))) for case in cases] == [1, 1, 1, 1, 0]


@pytest.mark.skipif(pytest.version_tuple < (9, 0), reason="subtests came with pytest 9.0")
def test_a_subtest_is_not_a_test_more(app: pytest.Pytester) -> None:
    app.makepyfile(
        """
        import asyncio
        import pytest

        queue = asyncio.Queue()

        @pytest.mark.multi_loop
        async def test_parts(subtests):
            for number in range(2):
                with subtests.test(number=number):
                    try:
                        await asyncio.wait_for(queue.get(), 0.001)
                    except (TimeoutError, RuntimeError):
                        pass
        """
    )

    result = app.runpytest_inprocess("--loopsafe-json=report.json")

    result.stdout.fnmatch_lines(["LS102 foreign-primitive*1 error in 1 test"])
    (test,) = json.loads((app.path / "report.json").read_text())["tests"]
    assert test["outcome"] == "failed"


@pytest.mark.parametrize(
    ("filters", "outcomes"),
    [
        ("error", {"failed": 1}),
        ("ignore", {"passed": 1, "warnings": 0}),
        ("default", {"passed": 1, "warnings": 1}),
    ],
)
def test_a_warning_of_the_plugins_own_obeys_its_filter(
    app: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, filters: str, outcomes: dict[str, int]
) -> None:
    from pytest_loopsafe._rules.ls101 import CrossLoopAwait

    def fails(*_: object) -> None:
        raise LookupError("a fault of ours")

    monkeypatch.setattr(CrossLoopAwait, "observe", fails)
    app.makepyfile(
        """
        import app
        import pytest

        @pytest.mark.multi_loop(ignore="LS2")
        async def test_publish():
            await app.publish()
        """
    )

    result = app.runpytest_inprocess("-W", f"{filters}::pytest_loopsafe.LoopsafeWarning")

    result.assert_outcomes(**outcomes)
    if filters == "error":
        result.stdout.fnmatch_lines(["E *LoopsafeWarning: the detector for LS101 failed*"])


def test_what_a_test_has_left_is_let_go_in_its_own_time(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import os

        seen = []

        class Left:
            def __del__(self):
                seen.append(os.environ["PYTEST_CURRENT_TEST"])

        async def leave():
            return Left()

        def test_leaves(loopsafe_runner):
            loopsafe_runner.run(leave, loops=2)

        def test_finds_nothing_of_it():
            assert len(seen) == 2
            assert all("test_leaves (call)" in one for one in seen)
        """
    )
    app.runpytest_inprocess().assert_outcomes(passed=2)
