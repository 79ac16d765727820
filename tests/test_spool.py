"""A spool may have been written by anybody, and torn by anything: it is read as data, and told."""

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_loopsafe import __main__ as program
from pytest_loopsafe._spool import wire
from pytest_loopsafe._spool.reader import SpoolReader
from pytest_loopsafe._spool.writer import SUFFIX
from pytest_loopsafe._words.findings import Finding
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack

ESCAPE = "\x1b]0;PWN\x07\x1b[2J\u202e\udcff\x9b"
DEEP = "[" * 100_000 + "]" * 100_000
HUGE = 10**4000


def a_process(**changes: Any) -> dict[str, Any]:
    own = {"kind": "process", "version": 1, "pid": os.getpid(), "parent": 1, "role": "worker"}
    return {**own, "host": "elsewhere", **changes}


def a_finding(file: str = "/app/shop.py", code: str = "LS101", **changes: Any) -> dict[str, Any]:
    rule = Rule(code, "cross-loop-await", Severity.ERROR, "a title", "a remedy")
    stacks = (Stack("awaited in loop 2", (Frame(file, 2, "publish", library=False),)),)
    finding = Finding(rule, "what happened", None, None, stacks, "what to do")
    return {"kind": "finding", "key": 1, "finding": {**wire.encode(finding), **changes}}


def lines(*records: Any) -> bytes:
    return b"".join(
        (one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in records
    )


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Writes records to a spool and gives its folder."""

    def write(*records: Any, name: str = "1-1") -> Path:
        (tmp_path / f"{name}{SUFFIX}").write_bytes(lines(*records))
        return tmp_path

    yield write


def report(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit status, and all that is printed, on a terminal that knows only ASCII."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = program.main(["report", str(folder), *arguments])
    printed = ""
    for stream in (out, err):
        stream.flush()
        printed += stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
    return status, printed


BEGAN = {"kind": "began", "number": 1, "task": "app.publish", "id": "1"}
ENDED = {"kind": "ended", "number": 1, "state": "SUCCESS", "error": None}
LINE = {"logger": "app", "level": "ERROR", "message": "no", "pass_number": 1}
LOGGED = {"kind": "line", "number": 1, "line": LINE}

BAD: dict[str, Any] = {
    "no object": [1, 2],
    "a list of pairs": [["kind", "exit"]],
    "a text": "exit",
    "a number": 1,
    "null": None,
    "no kind": {"run": ""},
    "a kind that is a list": {"kind": []},
    "torn": b'{"kind": "exi',
    "two in one line": b'{"kind": "exit"}{"kind": "exit"}',
    "no JSON": b"\x00\x01",
    "not UTF-8": b'{"kind": "note", "text": "\xff\xfe"}',
    "UTF-16": json.dumps({"kind": "exit"}).encode("utf-16"),
    "deep": DEEP.encode(),
    "deep within": b'{"kind": "exit", "x": ' + DEEP.encode() + b"}",
    "more digits than are read": b'{"kind": "began", "number": ' + b"9" * 10_000 + b"}",
    "a huge number": {**BEGAN, "number": HUGE},
    "a fraction": {**BEGAN, "number": 1.5},
    "NaN": {**BEGAN, "number": float("nan")},
    "infinity": {**BEGAN, "number": float("inf")},
    "a truth for a number": {**BEGAN, "number": True},
    "a number for a text": {**BEGAN, "task": 1},
    "nothing for a text": {**BEGAN, "id": None},
    "a run that is a list": {**BEGAN, "run": []},
    "a key that is missing": {"kind": "began", "number": 1},
    "an end without a beginning": {**ENDED, "number": 2},
    "an end once more": ENDED,
    "a process once more": a_process(),
    "loops that are none": {"kind": "loops", "loops": {"number": 1}},
    "loops that are texts": {"kind": "loops", "loops": ["loop"]},
    "a line that is a list": {"kind": "line", "number": 1, "line": list(LINE.items())},
    "a line that is half": {"kind": "line", "number": 1, "line": {"logger": "app"}},
    "a note without text": {"kind": "note"},
    "a finding that is a list": {"kind": "finding", "key": 1, "finding": []},
    "a finding that is empty": {"kind": "finding", "key": 1, "finding": {}},
    "a key that is an object": {**a_finding(), "key": {}},
    "a code that is none": a_finding(code="XX1"),
    "a code with a tail": a_finding(code="LS101\n"),
    "a severity that is none": a_finding(severity="fatal"),
    "a severity that is a list": a_finding(severity=[]),
    "passes that are a text": a_finding(passes="123"),
    "a count that is huge": a_finding(count=HUGE),
    "stacks that are an object": a_finding(stacks={"title": "x"}),
    "frames that are null": a_finding(stacks=[{"title": "x", "frames": None}]),
    "an origin that is a text": a_finding(origin="worker"),
}


@pytest.mark.parametrize("record", BAD.values(), ids=BAD)
def test_a_line_of_any_other_shape_is_counted_and_the_rest_is_read(
    spool: Callable[..., Path], record: Any
) -> None:
    folder = spool(a_process(), BEGAN, ENDED, record, a_finding(), LOGGED)

    reader = SpoolReader(folder)
    reader.poll()

    assert reader.bad_lines == 1
    assert [finding.code for finding in reader.findings()] == ["LS101"]
    assert [one.state for one in reader.calls()] == ["SUCCESS"]
    assert len(reader.lines()) == 1
    status, printed = report(folder)
    assert status == 1
    assert "1 lines of the spool could not be read" in printed


@pytest.mark.parametrize("pid", [0, -1, -(2**40), 2**31, 2**70, True, 1.0, "1", None])
def test_a_process_that_cannot_be_is_none_and_nobody_is_sent_a_signal(
    spool: Callable[..., Path], pid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: asked.append(arguments))
    folder = spool(a_process(pid=pid, host=os.uname().nodename), a_finding())

    status, printed = report(folder)

    assert status == 2
    assert "2 lines of the spool could not be read" in printed
    assert not asked


def test_what_a_newer_version_has_added_is_left_out_and_no_fault(
    spool: Callable[..., Path],
) -> None:
    new_code = a_finding(code="LS499", more={"than": "this"})
    folder = spool(a_process(more=1), {"kind": "weather", "rain": True}, new_code)

    reader = SpoolReader(folder)
    reader.poll()

    assert not reader.bad_lines
    assert [finding.code for finding in reader.findings()] == ["LS499"]


# -- files that are none ------------------------------------------------------------------------


def _a_folder(path: Path) -> None:
    path.mkdir()


def _a_fifo(path: Path) -> None:
    os.mkfifo(path)


def _a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _a_link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def _a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    "make", [_a_folder, _a_fifo, _a_device, _a_link_to_nowhere, _a_link_to_itself]
)
def test_what_is_no_file_is_told_and_not_waited_for(
    spool: Callable[..., Path], make: Callable[[Path], None]
) -> None:
    folder = spool(a_process(), a_finding())
    make(folder / f"0-0{SUFFIX}")

    status, printed = report(folder)

    assert status == 1
    assert f"0-0{SUFFIX} of the spool could not be read" in printed


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(spool: Callable[..., Path]) -> None:
    folder = spool(a_process(), a_finding())
    spool(a_process(), name="0-0")
    (folder / f"0-0{SUFFIX}").chmod(0)

    assert f"0-0{SUFFIX} of the spool could not be read" in report(folder)[1]


def test_a_line_that_was_cut_off_is_told_once_nobody_writes_it_any_more(
    spool: Callable[..., Path],
) -> None:
    child = os.fork()
    if not child:
        signal.pause()
    try:
        folder = spool(a_process(pid=child, host=os.uname().nodename), a_finding())
        with (folder / f"1-1{SUFFIX}").open("ab") as file:
            file.write(b'{"kind": "findi')
        assert "could not be read" not in report(folder)[1]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert "1 lines of the spool could not be read" in report(folder)[1]


# -- what a report shows of it ------------------------------------------------------------------


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a file whose second line is to be seen, and one elsewhere."""
    top = tmp_path_factory.mktemp("top")
    folder = top / "project"
    folder.mkdir()
    for path in (folder / "shop.py", folder / "secret.env", top / "other.py", top / "secret.env"):
        path.write_text("first\nthe second line\n")
    (folder / "folder.py").mkdir()
    os.mkfifo(folder / "fifo.py")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("file", "is_shown"),
    [
        ("shop.py", True),
        ("./../project/shop.py", True),
        ("secret.env", False),
        ("folder.py", False),
        ("fifo.py", False),
        ("gone.py", False),
        ("../other.py", False),
        ("../secret.env", False),
        ("../project.py/../other.py", False),
        ("shop.py\0", False),
        ("shop.py\x1b[2J", False),
    ],
)
@pytest.mark.parametrize("how", ["relative", "absolute"])
def test_a_report_reads_the_projects_own_sources_and_no_other_file(
    spool: Callable[..., Path], project: Path, file: str, is_shown: bool, how: str
) -> None:
    named = file if how == "relative" else f"{project}/{file}"
    found = a_finding(named)
    found["finding"]["stacks"][0]["frames"][0]["told"] = (
        False  # to be believed is not for it to say
    )

    for arguments in ([], ["-v"], ["--json"]):
        _, printed = report(spool(a_process(), found), *arguments)
        assert ("the second line" in printed) is is_shown, arguments


def _everywhere(value: Any) -> Any:
    """The same with the escapes at the end of each text that is shown."""
    if isinstance(value, dict):
        return {
            key: one if key in ("code", "severity", "kind", "host") else _everywhere(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_everywhere(one) for one in value]
    return value + ESCAPE + "\nLS999 faked" if isinstance(value, str) else value


@pytest.mark.parametrize("arguments", [[], ["-v"], ["--json"]])
def test_no_text_of_it_steers_the_terminal(
    spool: Callable[..., Path], arguments: list[str]
) -> None:
    found = a_finding(
        owner="app.client",
        home_state="closed",
        swallowed=True,
        swallowed_at=wire.encode(Frame("/app/shop.py", 3, "publish")),
        origin={"pid": 1, "process": "worker", "task": "t", "task_id": "1", "invocation": 1},
        logged=[LINE],
    )
    loops = {"kind": "loops", "loops": []}
    suspect = {"kind": "line", "number": 1, "line": {**LINE, "suspect": True, "error": "E: x"}}
    records = (a_process(), BEGAN, ENDED, found, loops, suspect, {"kind": "note", "text": "n"})
    folder = spool(*map(_everywhere, records), name=f"1{ESCAPE[:-2]}")
    (folder / f"0\x1b[2J{SUFFIX}").mkdir()

    _, printed = report(folder, *arguments)

    assert "PWN" in printed
    assert not [one for one in printed if not one.isprintable() and one != "\n"]
    assert not [line for line in printed.splitlines() if line.startswith("LS999")]


def test_a_folder_that_has_escapes_in_its_name_is_named_with_them(tmp_path: Path) -> None:
    for folder in (tmp_path / "gone\x1b[2J", tmp_path / "empty\x1b[2J"):
        if folder.name.startswith("empty"):
            folder.mkdir()
        status, printed = report(folder)
        assert status == 2
        assert "\x1b" not in printed
        assert r"\x1b[2J" in printed
