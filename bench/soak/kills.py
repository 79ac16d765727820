"""Processes that are killed, stopped, ended or out of memory, at a random moment."""

from __future__ import annotations

import functools
import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

import projects
from processes import Ended, Program, pytest_in
from rows import Row, Trial, codes_of, notes_of

_OLD = '{"tests": [], "of": "yesterday"}'
_SECONDS = 0.4
"""How long the code works in which the moment is."""


# -- ways to end ---------------------------------------------------------------------------------


def _strike(trial: Trial, way: str, pid: int) -> None:
    """End a process in some way, a moment from now."""
    time.sleep(trial.random.uniform(0, _SECONDS * 0.9))
    with suppress(ProcessLookupError):
        if way == "memory":
            size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
            limit = size + trial.random.randrange(1 << 22)
            resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        elif way != "os._exit":  # that it does itself
            os.kill(pid, getattr(signal, way))


def _has_come(trial: Trial, program: Program, name: str) -> str | None:
    """What the code says when it has come to where something is found; noted where it does not."""
    text = program.wait_for(trial.folder / name)
    trial.check(
        text, f"the code has not come to where it writes {name}: {program.printed()[-500:]}"
    )
    return text


def _environment(trial: Trial, way: str, whose: str) -> dict[str, str]:
    more = {"SOAK_FOLDER": str(trial.folder), "SOAK_SECONDS": str(_SECONDS)}
    if way == "os._exit":
        more[f"SOAK_EXIT_{whose}"] = f"{trial.random.uniform(0, _SECONDS * 0.9):.4f}"
    if way == "memory":
        more["SOAK_EATS"] = "1"
    return more


# -- the test process ----------------------------------------------------------------------------


def test_process_killed(trial: Trial) -> None:
    """Nobody can report any more: the old file stays whole, and all that it had goes with it."""
    project = trial.random.choice((projects.plain, projects.celery))
    project(trial)
    trial.file("report.json", _OLD)
    environment = {"SOAK_FOLDER": str(trial.folder), "SOAK_SECONDS": "0.1", "SOAK_TIMEOUT": "20"}
    program = pytest_in(trial.folder, **environment)
    time.sleep(trial.random.uniform(0.2, 3.0))
    program.send(signal.SIGKILL)
    ended = program.ended(60)
    trial.ended_well(ended)
    whole = (trial.folder / "report.json").read_text() == _OLD or trial.tests()
    trial.check(whole, "the JSON file is neither the old one nor whole")
    _is_tidy(trial, killed=True)


def test_process_stopped(trial: Trial) -> None:
    """Stopped for a while, as Ctrl-Z and a busy machine do, it goes on as if nothing were."""
    projects.plain(trial)
    program = pytest_in(trial.folder, **_environment(trial, "SIGSTOP", "TEST"))
    if _has_come(trial, program, "now"):
        _strike(trial, "SIGSTOP", program.pid)
        time.sleep(1.0)
        program.send(signal.SIGCONT)
    _told(trial, program.ended(60))


def test_process_exits(trial: Trial) -> None:
    """``os._exit`` in another thread than that of the test."""
    projects.plain(trial)
    ended = pytest_in(trial.folder, **_environment(trial, "os._exit", "TEST")).ended(60)
    trial.ended_well(ended, 9)
    tests = trial.tests()
    trial.has("test_before", "LS101", where=tests)
    trial.has("test_now", "LS101", where=tests)
    outcome = tests.get("test_now", {}).get("outcome")
    trial.check(outcome == "interrupted", f"test_now is {outcome}, and not interrupted")
    trial.check("os._exit(9)" in ended.text, "who ended the process is not said")
    _is_tidy(trial)


def test_process_out_of_memory(trial: Trial) -> None:
    """What the code wants is more than the process may have."""
    projects.plain(trial)
    program = pytest_in(trial.folder, **_environment(trial, "memory", "TEST"))
    if _has_come(trial, program, "now"):
        _strike(trial, "memory", program.pid)
    ended = program.ended(90)
    trial.ended_well(ended)
    trial.check(ended.code != 0, "the exit code is 0")
    trial.check("MemoryError" in ended.text, "that it was out of memory is not said")
    tests = trial.tests()
    if trial.check(tests or "not written" in ended.text, f"no file: {ended.text[-1500:]}"):
        trial.has("test_before", "LS101", where=tests)
        trial.has("test_now", "LS101", where=tests)


# -- a forked pass, and a child of the code's own ------------------------------------------------


def forked_pass(way: str, trial: Trial) -> None:
    """The other tests go on, and what it had found is in the report."""
    projects.plain(trial)
    environment = _environment(trial, way, "FORK")
    timeout = 1 if way == "SIGSTOP" else 20
    program = pytest_in(trial.folder, "-o", f"loopsafe_timeout={timeout}", **environment)
    if pid := _has_come(trial, program, "forked"):
        _strike(trial, way, int(pid))
    ended = program.ended(60)
    tests = _told(trial, ended)
    notes = notes_of(tests, "test_forked")
    words = {"SIGKILL": "killed by signal 9", "SIGSTOP": "was killed", "os._exit": "status 9"}
    if way != "memory":  # that leaves as an error of the pass, or it came too late to be short of
        trial.check(words[way] in notes, f"how it ended is not in the notes: {notes!r}")


def _told(trial: Trial, ended: Ended) -> dict[str, dict[str, object]]:
    """All tests have their findings."""
    trial.ended_well(ended, 1)
    tests = trial.tests()
    trial.has("test_before", "LS101", where=tests)
    trial.has("test_now", "LS101", where=tests)
    trial.has("test_forked", "LS401", where=tests)
    trial.has("test_after", "LS101", where=tests)
    _is_tidy(trial)
    return tests


def _is_tidy(trial: Trial, *, killed: bool = False) -> None:
    """No temporary folder of ours is left, but by who was killed and could not remove it."""
    left = [one.name for one in (trial.folder / "tmp").iterdir() if "loopsafe" in one.name]
    beside = [one.name for one in trial.folder.iterdir() if one.name.startswith(".loopsafe")]
    if not killed:
        trial.check(not left + beside, f"left on the disk: {left + beside}")


# -- a worker of pytest-xdist --------------------------------------------------------------------


def xdist_worker(way: str, trial: Trial) -> None:
    """What its earlier tests had is there; that it crashed is a failure."""
    projects.plain(trial)
    environment = _environment(trial, way, "TEST")
    program = pytest_in(trial.folder, "-n1", "-p", "xdist", **environment)
    if pid := _has_come(trial, program, "now"):
        _strike(trial, way, int(pid))
    ended = program.ended(60)
    trial.ended_well(ended, 1)
    tests = trial.tests()
    trial.has("test_before", "LS101", where=tests)
    trial.has("test_after", "LS101", where=tests)
    trial.check("crashed while running" in ended.text, "that the worker crashed is not said")


# -- Celery --------------------------------------------------------------------------------------


def celery_child(way: str, trial: Trial) -> None:
    """What the child had found is in the report, with how it died; the next test has a worker."""
    projects.celery(trial)
    environment = {
        **_environment(trial, way, "TASK"),
        "SOAK_TIMEOUT": "2" if way == "SIGSTOP" else "20",
    }
    program = pytest_in(trial.folder, **environment)
    if pids := _has_come(trial, program, "now"):
        _strike(trial, way, int(pids.split()[0]))
    ended = program.ended(90)
    notes = _of_worker(trial, ended)
    words = {"SIGKILL": "SIGKILL", "SIGSTOP": "without any news", "os._exit": "exitcode 9"}
    if way != "memory":
        trial.check(words[way] in notes, f"how it ended is not in the notes: {notes!r}")


def celery_worker(way: str, trial: Trial) -> None:
    """The main process, whose children run the tasks."""
    projects.celery(trial)
    environment = {
        **_environment(trial, way, "MAIN"),
        "SOAK_TIMEOUT": "2" if way == "SIGSTOP" else "20",
    }
    program = pytest_in(trial.folder, **environment)
    if pids := _has_come(trial, program, "now"):
        _strike(trial, way, int(pids.split()[1]))
    _of_worker(trial, program.ended(90))


def _of_worker(trial: Trial, ended: Ended) -> str:
    trial.ended_well(ended, 1)
    tests = trial.tests()
    trial.has("test_task", "LS101", where=tests)
    outcome = tests.get("test_after", {}).get("outcome")
    trial.check(outcome == "passed", f"the next test {outcome}")
    trial.check("LS101" in codes_of(tests, "test_after"), "nothing is found in the next test")
    _is_tidy(trial)
    return notes_of(tests, "test_task")


def _row(name: str, checked: str, times: tuple[int, int], make: object, way: str = "") -> Row:
    return Row(name, checked, times, functools.partial(make, way) if way else make)  # type: ignore[arg-type]


_WHOLE = "exit code, old file or a whole one, nothing left running"
_FORK = "exit code 1, its end is named, what it had found and all later tests are in the JSON"
_WORKER = "exit code 1, its end is named, what it had found is in the JSON, the next test passes"

ROWS = (
    _row("SIGKILL of the test process", _WHOLE, (20, 3), test_process_killed),
    _row("SIGSTOP and SIGCONT of the test process", "all as ever", (6, 1), test_process_stopped),
    _row("os._exit in the test process", "9, all in the JSON", (12, 2), test_process_exits),
    _row(
        "memory of the test process (rlimit)",
        "exit code not 0, what had been found is there",
        (10, 1),
        test_process_out_of_memory,
    ),
    _row("SIGKILL of a forked pass", _FORK, (12, 2), forked_pass, "SIGKILL"),
    _row("SIGSTOP of a forked pass", _FORK, (4, 1), forked_pass, "SIGSTOP"),
    _row("os._exit in a forked pass", _FORK, (12, 2), forked_pass, "os._exit"),
    _row("memory of a forked pass (rlimit)", _FORK, (6, 1), forked_pass, "memory"),
    _row(
        "SIGKILL of a worker of pytest-xdist",
        "exit code 1, the crash is told, all other tests are in the JSON",
        (6, 1),
        xdist_worker,
        "SIGKILL",
    ),
    _row("SIGKILL of a Celery child", _WORKER, (10, 1), celery_child, "SIGKILL"),
    _row("SIGSTOP of a Celery child", _WORKER, (2, 1), celery_child, "SIGSTOP"),
    _row("os._exit in a Celery child", _WORKER, (8, 1), celery_child, "os._exit"),
    _row("memory of a Celery child (rlimit)", _WORKER, (4, 1), celery_child, "memory"),
    _row("SIGKILL of a Celery worker", _WORKER, (8, 1), celery_worker, "SIGKILL"),
    _row("SIGSTOP of a Celery worker", _WORKER, (2, 1), celery_worker, "SIGSTOP"),
    _row("SIGTERM of a Celery worker", _WORKER, (4, 1), celery_worker, "SIGTERM"),
)
