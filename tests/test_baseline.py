"""``--loopsafe-baseline=FILE``: known fails nothing, new does, gone is told."""

import json
from pathlib import Path

import pytest

FILE = "--loopsafe-baseline=known.json"
UPDATE = "--loopsafe-update-baseline"
USAGE_ERROR = pytest.ExitCode.USAGE_ERROR

SHOP = """
    import asyncio

    queue = None

    async def take():
        global queue
        if queue is None:
            queue = asyncio.Queue()
        try:
            await asyncio.wait_for(queue.get(), 0.001)
        except (TimeoutError, RuntimeError):
            pass

    async def hurry():
        pass
"""

TESTS = """
    import asyncio
    import pytest
    import app, shop

    @pytest.mark.multi_loop
    async def test_take():
        await shop.take()

    def test_twice(loopsafe_runner):
        loopsafe_runner.run(shop.take)
        assert False, "what comes after a known finding runs"

    @pytest.mark.multi_loop
    def test_leaves_something_open():
        app.leave_open()

    @pytest.mark.multi_loop
    async def test_hurries():
        await shop.hurry()
"""


@pytest.fixture
def shop(app: pytest.Pytester) -> pytest.Pytester:
    app.makepyfile(shop=SHOP, test_shop=TESTS)
    return app


def change(file: Path, old: str, new: str, times: int = -1) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, times))


def run(shop: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return shop.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


@pytest.mark.parametrize("spread", [(), ("-n2",)], ids=["alone", "xdist"])
def test_from_the_first_file_to_the_last(shop: pytest.Pytester, spread: tuple[str, ...]) -> None:
    if spread:
        pytest.importorskip("xdist")
    known, code = shop.path / "known.json", shop.path / "shop.py"

    def codes() -> list[str]:
        return [one["code"] for one in json.loads(known.read_text())["findings"]]

    result = run(shop, FILE, UPDATE, *spread)
    result.assert_outcomes(passed=3, failed=1)  # the test's own assertion
    result.stdout.fnmatch_lines(["known.json: 3 known, 3 new, 0 taken out"])
    first = known.read_text()
    assert codes() == ["LS303", "LS102", "LS102"]
    assert json.loads(first)["findings"][1] == {
        "test": "test_shop.py::test_take",
        "code": "LS102",
        "owner": "shop.queue",
        "functions": ["test_take", "take"],
    }

    # Lines move, and something new comes up.
    change(code, "queue = None", "# a line\n# more\nqueue = None", 1)
    change(code, "hurry():\n    pass", "hurry():\n    import app\n    await app.publish()")
    result = run(shop, FILE, *spread)
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["LS101 *1 error in 1 test", "known.json: 3 known"])
    result.stdout.fnmatch_lines(["LOOP UNSAFE test_shop.py::test_hurries - LS101*"])
    result.stdout.fnmatch_lines(["E *what comes after a known finding runs"])

    # One is mended. What was not run, or did not pass, has shown nothing.
    change(code, "if queue is None:", "if True:")
    result = run(shop, FILE, "-k", "take or twice", *spread)
    result.stdout.fnmatch_lines(
        ["known.json: 0 known, 1 no longer found (*)", "  test_shop.py::test_take: LS102 in *"]
    )
    assert known.read_text() == first

    result = run(shop, FILE, UPDATE, *spread)
    result.stdout.fnmatch_lines(["known.json: 3 known, 1 new, 1 taken out"])
    assert codes() == ["LS101", "LS303", "LS102"]  # the last is of the test that fails


def test_a_test_file_that_is_gone_takes_its_findings_along(shop: pytest.Pytester) -> None:
    run(shop, FILE, UPDATE, "-k", "take")
    (shop.path / "test_shop.py").rename(shop.path / "test_store.py")

    result = run(shop, FILE, "-q", "-k", "hurries")

    result.stdout.fnmatch_lines(["loopsafe: known.json: 0 known, 1 no longer found (*)"])


def test_an_audit_knows_them_too(app: pytest.Pytester) -> None:
    app.makepyfile(
        """
        import asyncio
        import app

        def test_publish():
            asyncio.run(app.publish())
            asyncio.run(app.publish())
        """
    )
    run(app, "--loopsafe", FILE, UPDATE).assert_outcomes(passed=1)

    result = run(app, "--loopsafe", FILE, "--loopsafe-json=report.json", "-vv")

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*LS101*")
    (test,) = json.loads((app.path / "report.json").read_text())["tests"]
    assert test["findings"] == []
    assert [one["code"] for one in test["known"]] == ["LS101"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file; --loopsafe-update-baseline makes it"),
        ("<<<<<<< HEAD\n", "it is not JSON: "),
        ("[]", "it has no version 1"),
        ('{"version": 2, "findings": []}', "it has no version 1"),
        ('{"version": 1, "findings": [{"test": "a"}]}', "an entry is not as it was written"),
        ('{"version": 1, "findings": {"test": 1}}', "an entry is not as it was written"),
    ],
)
def test_a_file_that_is_missing_or_broken_is_a_usage_error(
    pytester: pytest.Pytester, content: str | None, said: str
) -> None:
    if content is not None:
        (pytester.path / "known.json").write_text(content)
    pytester.makepyfile("def test_bystander(): pass")

    result = pytester.runpytest_inprocess(FILE)

    assert result.ret == USAGE_ERROR
    (line,) = [one for one in result.errlines if one.strip()]
    assert line.startswith(f"ERROR: {FILE}: ")
    assert said in line


def test_an_update_needs_a_file(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(UPDATE)

    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {UPDATE}: give --loopsafe-baseline=FILE, too"])


def test_a_file_that_cannot_be_written_is_said(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_bystander(): pass")

    result = pytester.runpytest_inprocess("--loopsafe-baseline=missing/known.json", UPDATE)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["--loopsafe-baseline=*known.json: not written: No such file*"])
