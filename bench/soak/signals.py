"""Ctrl-C and SIGTERM, at any moment from the start of the process to its end."""

from __future__ import annotations

import functools
import re
import signal
import threading
import time

import projects
from processes import Ended, Program, pytest_in
from rows import Row, Trial, codes_of

_OLD = '{"tests": [], "of": "yesterday"}'
_AT_THE_END = 0.4
"""How many of the moments are in the last stretch, where the files are written."""
_CODES = {"test_forked": "LS401"}
_lock = threading.Lock()


def _start(trial: Trial, project: str) -> Program:
    getattr(projects, project)(trial)
    trial.file("report.json", _OLD)
    return pytest_in(
        trial.folder,
        "--loopsafe-html=report.html",
        "--loopsafe-sarif=report.sarif",
        SOAK_FOLDER=str(trial.folder),
        SOAK_SECONDS="0.05",
        SOAK_TIMEOUT="20",
    )


@functools.cache
def _span(project: str) -> float:
    """How long such a session takes here when nothing happens to it."""
    trial = Trial(0, "signals", 0, is_short=True)
    return _start(trial, project).ended(120).seconds


def _struck(trial: Trial, number: int) -> tuple[Ended, set[str]]:
    """A session that is sent a signal once, it alone or all of the foreground.

    Returns:
        How it ended, and the names of the files that the code had written by the time of the
        signal: a worker goes on until the tests stop it.
    """
    project = "celery" if trial.random.random() < 0.25 else "plain"
    with _lock:
        span = _span(project)
    at_the_end = trial.random.random() < _AT_THE_END
    to_group = trial.random.random() < 0.5
    moment = trial.random.uniform(0, 0.6 if at_the_end else span)
    program = _start(trial, project)
    if at_the_end:
        while program.runs() and "::test_after" not in program.printed():
            time.sleep(0.005)
    time.sleep(moment)
    written = {one.name for one in trial.folder.iterdir()}
    program.send(number, to_group=to_group)
    return program.ended(60), written


def interrupted(trial: Trial) -> None:
    """What was told on the terminal, and what was seen for certain, is in the file."""
    ended, written = _struck(trial, signal.SIGINT)
    trial.ended_well(ended)
    trial.check(ended.code != 0, "the exit code is 0, although findings were made")
    tests = _file(trial)
    for name in _told(ended):
        trial.has(name, _CODES.get(name, "LS101"), where=tests)
    for name, test in (("now", "test_now"), ("forked", "test_forked")):
        if name in written:
            seen = (
                "test_task" if (trial.folder / "test_shop.py").read_text().count("Celery") else test
            )
            trial.has(seen, _CODES.get(seen, "LS101"), where=tests)
    found = sorted({code for name in tests for code in codes_of(tests, name)})
    missing = [code for code in found if code not in ended.text]
    trial.check(not missing, f"in the file, and not on the terminal: {missing}")
    left = [one.name for one in (trial.folder / "tmp").iterdir() if "loopsafe" in one.name]
    left += [one.name for one in trial.folder.iterdir() if one.name.startswith(".loopsafe")]
    trial.check(not left, f"left on the disk: {left}")


def terminated(trial: Trial) -> None:
    """Python ends at once, as it does without a plugin; what is on the disk is whole."""
    ended, _ = _struck(trial, signal.SIGTERM)
    trial.ended_well(ended, -signal.SIGTERM, 1)
    tests = _file(trial)
    if ended.code == 1:
        for name in _told(ended):
            trial.has(name, _CODES.get(name, "LS101"), where=tests)


def _told(ended: Ended) -> list[str]:
    """The tests that the terminal says are unsafe, as they end."""
    return re.findall(r"^\S+::(\w+) LOOP UNSAFE", ended.text, re.MULTILINE)


def _file(trial: Trial) -> dict[str, dict[str, object]]:
    text = (trial.folder / "report.json").read_text()
    tests = trial.tests()  # notes a file that is cut off
    for name, end in (("report.html", "</html>"), ("report.sarif", "}")):
        path = trial.folder / name
        if path.exists():
            trial.check(path.read_text().rstrip().endswith(end), f"{name} is cut off")
    return {} if text == _OLD else tests


ROWS = (
    Row(
        "SIGINT at random moments",
        "exit code not 0, all that was told or seen is in a whole file and on the terminal",
        (60, 4),
        interrupted,
    ),
    Row(
        "SIGTERM at random moments",
        "ends at once, files are whole, nothing left running",
        (40, 2),
        terminated,
    ),
)
