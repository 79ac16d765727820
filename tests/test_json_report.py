"""``--loopsafe-json=PATH``: a stable schema, every watched test, whatever way the session ends."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import pytest_loopsafe

SCHEMA = json.loads(
    (Path(pytest_loopsafe.__file__).parent / "_report" / "schema.json").read_text("utf-8")
)

TESTS = """
    import pytest
    import app

    @pytest.mark.multi_loop
    async def test_publish():
        await app.publish()

    @pytest.mark.multi_loop(loops=2)
    async def test_publish_loudly():
        await app.publish_loudly()

    @pytest.mark.multi_loop(loops=4)
    async def test_greet():
        await app.greet()

    @pytest.mark.multi_loop
    def test_leaves_something_open():
        app.leave_open()

    @pytest.mark.multi_loop
    async def test_skipped():
        pytest.skip("no stock")

    def test_fixture(loopsafe_runner):
        loopsafe_runner.run(app.greet, loops=2)
        loopsafe_runner.run(app.greet, loops=3)

    def test_unwatched():
        pass
"""

KINDS: dict[str, Any] = {
    "code": str,
    "slug": str,
    "severity": str,
    "message": str,
    "loop": (int, type(None)),
    "home_loop": (int, type(None)),
    "owner": (str, type(None)),
    "swallowed": bool,
    "stacks": list,
    "remedy": str,
}


def load(path: Path) -> dict[str, dict[str, Any]]:
    """The tests of a report by their names."""
    report = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(report, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert {"version", "tests"} <= set(report) <= {"version", "tests", "audit"}
    assert report["version"] == 2
    return {test["nodeid"].partition("::")[2]: test for test in report["tests"]}


@pytest.fixture
def tests(app: pytest.Pytester) -> dict[str, dict[str, Any]]:
    app.makepyfile(test_shop=TESTS)
    app.runpytest_inprocess("--loopsafe-json=report.json")
    return load(app.path / "report.json")


def test_it_has_every_test_that_was_watched_and_no_other(tests: dict[str, Any]) -> None:
    assert list(tests) == [
        "test_publish",
        "test_publish_loudly",
        "test_greet",
        "test_leaves_something_open",
        "test_skipped",
        "test_fixture",
    ]


def test_each_test_has_its_outcome_its_loops_and_its_findings(tests: dict[str, Any]) -> None:
    for test in tests.values():
        assert {"nodeid", "outcome", "loops", "findings"} <= set(test)
    assert {
        name: (test["outcome"], test["loops"], [one["code"] for one in test["findings"]])
        for name, test in tests.items()
    } == {
        "test_publish": ("failed", 3, ["LS101"]),
        "test_publish_loudly": ("failed", 2, ["LS101"]),
        "test_greet": ("passed", 4, []),
        "test_leaves_something_open": ("passed", 3, ["LS303"]),
        "test_skipped": ("skipped", 1, []),
        "test_fixture": ("passed", 5, []),
    }


def test_each_finding_has_every_promised_key_in_its_type(tests: dict[str, Any]) -> None:
    findings = [finding for test in tests.values() for finding in test["findings"]]
    assert findings
    for finding in findings:
        for key, kind in KINDS.items():
            assert isinstance(finding[key], kind), key


def test_a_swallowed_finding_says_what_happened_and_where(tests: dict[str, Any]) -> None:
    (finding,) = tests["test_publish"]["findings"]

    assert finding["slug"] == "cross-loop-await"
    assert finding["severity"] == "error"
    assert finding["swallowed"] is True
    assert (finding["loop"], finding["home_loop"]) == (2, 1)
    frames = [frame for stack in finding["stacks"] for frame in stack["frames"]]
    assert any(
        Path(frame["file"]).name == "app.py" and frame["function"] == "publish" for frame in frames
    )
    assert all(isinstance(frame["line"], int) for frame in frames)


def test_the_schema_knows_each_key_that_is_written(tests: dict[str, Any]) -> None:
    """What is new in the file is new in the schema: others take that for all there is."""
    kinds = SCHEMA["$defs"]
    for test in tests.values():
        assert set(test) <= set(kinds["test"]["properties"])
        for kind, name in (("finding", "findings"), ("group", "groups"), ("lane", "lanes")):
            assert all(set(one) == set(kinds[kind]["properties"]) for one in test[name])


def test_a_group_says_in_a_sentence_what_its_findings_have_in_common(tests: dict[str, Any]) -> None:
    (group,) = tests["test_publish"]["groups"]
    (finding,) = tests["test_publish"]["findings"]

    assert group["findings"] == [group["lead"]] == [0]
    assert (group["key"], group["owner"]) == (finding["group"], finding["owner"])
    assert group["codes"] == ["LS101"]
    assert group["headline"] == "app.connection (Future) belongs to loop 1 and is used in loop 2"


def test_the_lanes_are_the_loops_of_tests_with_findings(tests: dict[str, Any]) -> None:
    lanes = tests["test_publish"]["lanes"]

    assert [(one["loop"], one["pass"], one["closed"]) for one in lanes] == [
        (1, 1, True),
        (2, 2, True),
        (3, 3, True),
    ]
    assert {one["thread"] for one in lanes} == {"MainThread"}
    assert tests["test_greet"]["lanes"] == []


def test_what_is_of_another_run_of_a_test_says_so(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import app, asyncio

        async def publish(held=asyncio.Queue()):
            held.put_nowait(1)
            await held.get()
            waiting = asyncio.create_task(held.get())
            await asyncio.sleep(0)
            waiting.cancel()

        def test_two_runs(loopsafe_runner):
            for _ in range(2):
                loopsafe_runner.run(publish, asyncio.Queue(), loops=2, check=False)
        """
    )

    app.runpytest_inprocess("--loopsafe-json=report.json")

    test = load(app.path / "report.json")["test_two_runs"]
    assert [one["run"] for one in test["findings"]] == [1, 1, 2, 2]
    for group in test["groups"]:
        assert {test["findings"][at]["run"] for at in group["findings"]} == {group["run"]}
    assert sorted(at for one in test["groups"] for at in one["findings"]) == [0, 1, 2, 3]
    assert [(one["run"], one["loop"]) for one in test["lanes"]] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_finding_whose_error_left_the_pass_is_not_swallowed(tests: dict[str, Any]) -> None:
    (finding,) = tests["test_publish_loudly"]["findings"]

    assert finding["swallowed"] is False


def test_a_warning_is_a_warning_unless_strict(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import pytest
        import app

        @pytest.mark.multi_loop
        def test_lenient():
            app.leave_open()

        @pytest.mark.multi_loop(strict=True)
        def test_strict():
            app.leave_open()
        """
    )

    app.runpytest_inprocess("--loopsafe-json=report.json")

    tests = load(app.path / "report.json")
    assert [one["severity"] for one in tests["test_lenient"]["findings"]] == ["warning"]
    assert [one["severity"] for one in tests["test_strict"]["findings"]] == ["error"]
    assert tests["test_strict"]["outcome"] == "failed"


def test_an_audit_writes_every_test(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import asyncio
        import app

        def test_publish():
            asyncio.run(app.publish())
            asyncio.run(app.publish())

        def test_plain():
            pass
        """
    )

    app.runpytest_inprocess("--loopsafe", "--loopsafe-json=report.json")

    tests = load(app.path / "report.json")
    assert {name: (test["outcome"], test["loops"]) for name, test in tests.items()} == {
        "test_publish": ("failed", 2),
        "test_plain": ("passed", 0),
    }


def test_where_nothing_was_watched_it_is_written_all_the_same(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_plain(): pass")

    pytester.runpytest_inprocess("--loopsafe-json=report.json")

    assert load(pytester.path / "report.json") == {}


def test_an_older_file_is_replaced(app: pytest.Pytester) -> None:
    (app.path / "report.json").write_text("x" * 100_000)
    app.makepyfile("def test_plain(): pass")

    app.runpytest_inprocess("--loopsafe-json=report.json")

    assert load(app.path / "report.json") == {}


def test_the_path_is_relative_to_where_pytest_was_started(
    app: pytest.Pytester, tmp_path: Path
) -> None:
    app.makepyfile(
        test_shop="""
        import os
        import pytest

        @pytest.mark.multi_loop
        async def test_moves(tmp_path):
            os.chdir(tmp_path)
        """
    )

    app.runpytest_subprocess("--loopsafe-json=report.json")

    assert list(load(app.path / "report.json")) == ["test_moves"]


def test_without_the_option_nothing_is_written(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=TESTS)

    app.runpytest_inprocess("-p", "no:cacheprovider")

    assert not list(app.path.rglob("*.json"))


@pytest.mark.parametrize(
    "end",
    [
        "raise KeyboardInterrupt",
        "pytest.exit('closing time')",
        "pytest.fail('no stock')",
    ],
)
def test_a_session_that_ends_early_is_written_as_far_as_it_got(
    app: pytest.Pytester, end: str
) -> None:
    app.makepyfile(
        test_shop=f"""
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_publish():
            await app.publish()

        @pytest.mark.multi_loop
        async def test_greet():
            await app.greet()

        def test_ends():
            {end}

        @pytest.mark.multi_loop
        async def test_never_reached():
            pass
        """
    )

    app.runpytest_subprocess("--loopsafe-json=report.json", "--maxfail=2")

    tests = load(app.path / "report.json")
    assert list(tests) == ["test_publish", "test_greet"]
    assert [one["code"] for one in tests["test_publish"]["findings"]] == ["LS101"]


def test_a_test_that_was_interrupted_is_written_with_what_was_found_in_it(
    app: pytest.Pytester,
) -> None:
    app.makepyfile(
        test_shop="""
        import pytest
        import app

        calls = []

        @pytest.mark.multi_loop
        async def test_publish():
            calls.append(1)
            await app.publish()
            if len(calls) == 3:
                raise KeyboardInterrupt
        """
    )

    result = app.runpytest_subprocess("--loopsafe-json=report.json")

    assert result.ret == pytest.ExitCode.INTERRUPTED
    tests = load(app.path / "report.json")
    assert [one["code"] for one in tests["test_publish"]["findings"]] == ["LS101"]


@pytest.mark.parametrize("path", ["missing/report.json", "folder", ""])
def test_a_path_that_cannot_be_written_is_a_usage_error_that_names_it(
    pytester: pytest.Pytester, path: str
) -> None:
    pytester.mkdir("folder")
    pytester.makepyfile("def test_plain(): pass")

    result = pytester.runpytest_inprocess(f"--loopsafe-json={path}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *--loopsafe-json={path}*"])
    assert "Traceback" not in result.stderr.str()
    assert "passed" not in result.stdout.str()
