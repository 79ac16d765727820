"""What was found is told, whatever becomes of the JSON file, the folder or the process."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._graph.view import Graph
from pytest_loopsafe._report import files
from pytest_loopsafe._report.text import Text

UNSAFE = """
    import os
    import pathlib
    import shutil
    import pytest
    import app

    @pytest.mark.multi_loop
    async def test_publish():
        await app.publish()
"""


def run(app: pytest.Pytester, *arguments: str, timeout: float = 60) -> pytest.RunResult:
    return app.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=timeout)


def is_told(result: pytest.RunResult) -> bool:
    text = result.stdout.str()
    return "LS101 cross-loop-await" in text and "loopsafe report" in text


# -- the JSON file ------------------------------------------------------------------------------


def _full_disk(folder: Path) -> str:
    return "/dev/full"


def _fifo(folder: Path) -> str:
    os.mkfifo(folder / "fifo")
    return "fifo"


def _folder_that_goes(folder: Path) -> str:
    (folder / "reports").mkdir()
    return "reports/report.json"


def _name_that_is_taken(folder: Path) -> str:
    return "taken.json"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (_full_disk, "No space left on device"),
        (_fifo, "nobody reads it"),
        (_folder_that_goes, "No such file or directory"),
        (_name_that_is_taken, "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_said_in_one_line(
    app: pytest.Pytester, place: Any, reason: str
) -> None:
    path = place(app.path)
    app.makepyfile(
        test_shop=UNSAFE
        + """
    def test_meanwhile():
        shutil.rmtree("reports", ignore_errors=True)
        pathlib.Path("taken.json").mkdir()
"""
    )

    result = run(app, f"--loopsafe-json={path}")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert is_told(result)
    (line,) = [one for one in result.outlines if "--loopsafe-json" in one]
    assert line == f"--loopsafe-json={app.path / path}: not written: {reason}"
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["-q"], ["-p", "no:terminal"]])
def test_the_exit_code_tells_of_it_as_that_of_junitxml_does(
    app: pytest.Pytester, arguments: list[str]
) -> None:
    app.makepyfile("def test_plain(): pass")
    junit = run(app, "--junitxml=/dev/full")

    result = run(app, "--loopsafe-json=/dev/full", *arguments)

    assert result.ret == junit.ret == 1
    assert "not written: No space left on device" in result.stdout.str() + result.stderr.str()


def test_a_fifo_that_is_read_gets_it_whole(tmp_path: Path) -> None:
    """However large it is, and however late its reader begins."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[str] = []
    thread = threading.Thread(target=lambda: read.append(fifo.read_text()))
    threading.Timer(0.2, thread.start).start()

    assert files.write(fifo, "x" * 1_000_000) is None

    thread.join()
    assert read == ["x" * 1_000_000]


def test_a_reader_that_stops_reading_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_PATIENCE", 0.1)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    assert files.write(fifo, "x" * 1_000_000) == "nobody reads it"

    os.close(reader)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + "/report.json"])
def test_a_name_that_no_file_can_have_is_said_before_any_test_runs(
    pytester: pytest.Pytester, name: str
) -> None:
    pytester.makepyfile("def test_plain(): pass")

    result = pytester.runpytest_inprocess(f"--loopsafe-json={name}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Traceback" not in result.stderr.str()
    assert "passed" not in result.stdout.str()


@pytest.mark.parametrize("arguments", [[], ["-n1"]])
def test_text_that_cannot_be_encoded_harms_neither_the_file_nor_the_report(
    app: pytest.Pytester, arguments: list[str]
) -> None:
    app.makepyfile(
        test_shop="""
        import asyncio
        import pytest
        import app

        @pytest.mark.multi_loop
        @pytest.mark.parametrize("text", ["half a pair: \\udcff"])
        async def test_publish(text):
            asyncio.current_task().set_name(text)
            await app.publish()
        """
    )

    result = run(app, "--loopsafe-json=report.json", *arguments)

    assert is_told(result)
    assert "worker 'gw0' crashed" not in result.stdout.str()
    (test,) = json.loads((app.path / "report.json").read_text())["tests"]
    (finding,) = test["findings"]
    assert "half a pair: \\udcff" in finding["message"]
    json.dumps(test, ensure_ascii=False).encode()


def test_a_session_that_breaks_at_its_end_tells_all_the_same(app: pytest.Pytester) -> None:
    """As one whose working directory is gone does, or whose other report cannot be written."""
    app.makeconftest(
        """
        def pytest_sessionfinish():
            raise OSError("no end")
        """
    )
    app.makepyfile(test_shop=UNSAFE)

    result = run(app, "--loopsafe-json=report.json")

    assert "LS101 cross-loop-await" in result.stderr.str()
    assert len(json.loads((app.path / "report.json").read_text())["tests"]) == 1


def test_a_session_that_breaks_in_a_test_tells_what_that_had_found(app: pytest.Pytester) -> None:
    """As one whose memory does not do for pytest's own traceback."""
    app.makeconftest(
        """
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_makereport(item, call):
            if call.when == "call":
                raise MemoryError
        """
    )
    app.makepyfile(test_shop=UNSAFE)

    result = run(app, "--loopsafe-json=report.json")

    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert "LS101 cross-loop-await" in result.stdout.str() + result.stderr.str()
    (test,) = json.loads((app.path / "report.json").read_text())["tests"]
    assert test["outcome"] == "interrupted"
    assert [one["code"] for one in test["findings"]] == ["LS101"]


# -- the working directory ----------------------------------------------------------------------


def test_a_working_directory_that_is_gone_changes_nothing(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import os
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_publish(tmp_path_factory):
            gone = tmp_path_factory.mktemp("gone")
            os.chdir(gone)
            gone.rmdir()
            await app.publish()
        """
    )

    result = run(app, "--loopsafe-json=report.json")

    assert is_told(result)
    assert "INTERNALERROR" not in result.stdout.str()
    assert len(json.loads((app.path / "report.json").read_text())["tests"]) == 1


def test_the_folder_where_pytest_was_started_may_go(app: pytest.Pytester) -> None:
    """Then pytest itself has no summary."""
    app.makepyfile(test_shop=UNSAFE)
    app.path.joinpath("test_shop.py").write_text(
        (app.path / "test_shop.py").read_text()
        + "\ndef test_ends():\n    shutil.rmtree(os.getcwd())\n"
    )
    here = app.path / "here"
    here.mkdir()

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "../test_shop.py"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": f"{app.path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert not here.exists()
    assert "LS101 cross-loop-await" in done.stdout + done.stderr


# -- the process --------------------------------------------------------------------------------

EXITS = {
    "an audited test": (
        """
        import asyncio, os
        import app

        def test_publish():
            asyncio.run(app.publish())
            asyncio.run(app.publish())

        def test_ends(capsys):
            app.connection = None
            asyncio.run(app.publish())
            asyncio.run(app.publish())
            os._exit(7)
        """,
        ["--loopsafe"],
        ["failed", "interrupted"],
    ),
    "a test with the marker": (
        """
        import os
        import pytest
        import app

        calls = []

        @pytest.mark.multi_loop
        async def test_publish():
            await app.publish()

        @pytest.mark.multi_loop
        async def test_ends(capsys):
            calls.append(1)
            if len(calls) == 1:
                app.connection = None
            await app.publish()
            if len(calls) == 3:
                os._exit(7)
        """,
        [],
        ["failed", "interrupted"],
    ),
    "a test with the fixture": (
        """
        import os
        import app

        async def ends():
            await app.publish()
            os._exit(7)

        def test_ends(loopsafe_runner):
            loopsafe_runner.run(app.publish, check=False)
            loopsafe_runner.run(ends)
        """,
        [],
        ["interrupted"],
    ),
}


@pytest.mark.parametrize(
    ("capture", "tests", "arguments", "outcomes"),
    [(capture, *case) for capture, case in zip(("fd", "sys", "no"), EXITS.values(), strict=True)],
    ids=EXITS,
)
def test_what_ends_the_process_ends_no_report(
    app: pytest.Pytester, capture: str, tests: str, arguments: list[str], outcomes: list[str]
) -> None:
    app.makepyfile(test_shop=tests)

    result = run(app, "--loopsafe-json=report.json", f"--capture={capture}", *arguments)

    assert result.ret == 7
    result.stderr.fnmatch_lines(["*LS101*", "*os._exit(7)*"])
    found = json.loads((app.path / "report.json").read_text())["tests"]
    assert [test["outcome"] for test in found] == outcomes
    assert all("LS101" in [one["code"] for one in test["findings"]] for test in found)


def test_a_child_of_an_audited_test_ends_without_a_word(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import os

        def test_forks():
            child = os.fork()
            if child == 0:
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        """
    )

    result = run(app, "--loopsafe")

    result.assert_outcomes(passed=1)
    assert not result.stderr.str()


def test_a_child_writes_a_finding_before_it_looks_for_its_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def searches(*_: Any, **__: Any) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return "nowhere"

    kept: list[Any] = []

    async def body() -> None:
        for _ in range(2):
            await asyncio.sleep(0)
        await kept[0]

    loop = asyncio.new_event_loop()
    kept.append(loop.create_future())
    monkeypatch.setattr(Graph, "locate", searches)
    report = pytest_loopsafe.run(body, loops=1, schedule="fork", check=False)
    loop.close()
    assert "LS401" in [finding.code for finding in report.findings]
    assert "SIGKILL" in report.notes[0]


def test_a_hang_is_kept_where_the_code_answers_its_end_with_os_exit() -> None:
    async def body() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            os._exit(7)

    report = pytest_loopsafe.run(body, loops=1, schedule="fork", timeout=0.4, check=False)
    assert [finding.code for finding in report.findings] == ["LS106"]


# -- what is printed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, déjà vu, 東京\u3000, a\u00a0b", "plain, déjà vu, 東京\u3000, a\u00a0b"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b2J \x7f \x00 a\rb", r"\x9b2J \x7f \x00 a\rb"),
        ("\u202egnp.exe \u2066x\u2069 \u200b", r"\u202egnp.exe \u2066x\u2069 \u200b"),
        ("half \udcff \ud800", r"half \udcff \ud800"),
        ("a\u2028b\x85c\x0b\x0c", r"a\u2028b\x85c\x0b\x0c"),
        ("a\tb", "a   b"),
        ("first\r\nLS101 faked", "first\n      LS101 faked"),
    ],
)
def test_a_line_has_nothing_in_it_that_is_not_seen(text: str, shown: str) -> None:
    lines = Text()
    lines.add(text)
    assert lines.plain() == shown


def test_no_name_or_message_steers_the_terminal(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import asyncio
        import logging
        import pytest

        ESCAPE = "\\x1b]0;PWN\\x07\\x1b[2J\\u202e"
        log = logging.getLogger("app" + ESCAPE)
        source = '''
        first = None
        async def go():
            global first
            if first is None:
                first = asyncio.get_running_loop().create_future()
                return
            try:
                await first
            except RuntimeError as error:
                log.error("refused %s: %s", ESCAPE, error)
        '''
        import textwrap
        exec(compile(textwrap.dedent(source), f"weird{ESCAPE}\\nname.py", "exec"), globals())

        @pytest.mark.multi_loop(loops=2)
        async def test_publish():
            asyncio.current_task().set_name(f"task{ESCAPE}\\nLS999 faked")
            await go()
        """
    )

    result = run(app, "-v", "--loopsafe-json=report.json", "--show-capture=no")

    assert is_told(result)
    printed = result.stdout.str() + result.stderr.str()
    assert "task\\x1b]0;PWN" in printed
    assert not [one for one in printed if not one.isprintable() and one != "\n"]
    assert not [line for line in result.outlines if line.startswith("LS999")]
