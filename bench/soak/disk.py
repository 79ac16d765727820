"""A full disk: for the files that the user wants, for what children write down, for a spool."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import projects
from processes import Ended, Program, pytest_in
from redis_servers import redis_server
from rows import Row, SkippedError, Trial, notes_of

_PAGE = resource.getpagesize()
_FULL = "No space left on device"
_OUTPUTS = ("report.json", "report.html", "report.sarif")
_OLD = "of yesterday"


@contextmanager
def _small_disk(trial: Trial, size: int) -> Iterator[Path]:
    """A disk of so many bytes, rounded up to pages."""
    folder = trial.folder / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = "only root can" if os.geteuid() else done.stderr.strip()
        raise SkippedError(f"no tmpfs can be mounted here ({why}); rlimit's rows stand in for it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# -- the user's files ----------------------------------------------------------------------------


def files_on_a_full_disk(trial: Trial) -> None:
    """Some of the files fit, and some do not."""
    with _small_disk(trial, trial.random.randrange(4, 40) * _PAGE) as disk:
        _files(trial, disk, _FULL)


def files_beyond_a_limit(trial: Trial) -> None:
    """The same without a disk of its own: no file may be larger than so much."""
    folder = trial.folder / "out"
    folder.mkdir()
    limit = trial.random.randrange(30_000, 120_000)
    _files(trial, folder, "File too large", SOAK_FSIZE=str(limit))


def _files(trial: Trial, folder: Path, reason: str, **environment: str) -> None:
    projects.plain(trial)
    for name in _OUTPUTS:
        (folder / name).write_text(_OLD)
    arguments = [f"--loopsafe-{name.partition('.')[2]}={folder / name}" for name in _OUTPUTS]
    environment["SOAK_FOLDER"] = str(trial.folder)
    ended = pytest_in(trial.folder, *arguments, **environment).ended(60)
    trial.ended_well(ended, 1)
    for code in ("LS101", "LS401", "loopsafe report"):
        trial.check(code in ended.text, f"{code} is not on the terminal")
    for name in _OUTPUTS:
        text = (folder / name).read_text()
        is_said = f"{name}: not written: {reason}" in ended.text
        trial.check((text == _OLD) == is_said, f"{name}: {text[:20]!r}, and said: {is_said}")
        trial.check(text == _OLD or text.rstrip()[-1:] in "}>", f"{name} is cut off")
    names = sorted(one.name for one in folder.iterdir())
    trial.check(names == sorted(_OUTPUTS), f"beside the files: {names}")


# -- what children write down --------------------------------------------------------------------

LOUD = """
    import asyncio, logging, os
    import pytest
    import app

    log = logging.getLogger("shop")


    @pytest.fixture
    def parents_loop():
        app.parents_loop = asyncio.new_event_loop()
        yield
        app.parents_loop.close()


    @pytest.mark.multi_loop(3, schedule="fork")
    def test_forked(parents_loop):
        app.use_parents_loop()
        for number in range(100):
            log.warning("%s", "x" * 1000)
        app.publish_twice()


    @pytest.mark.multi_loop(2)
    def test_own_child():
        app.publish_twice()
        child = os.fork()
        if not child:
            for number in range(100):
                log.warning("%s", "x" * 1000)
            app.publish_twice()
            os._exit(0)
        os.waitpid(child, 0)
        app.publish_twice()


    @pytest.mark.multi_loop
    def test_after():
        app.publish_twice()
"""


def children_on_a_full_disk(trial: Trial) -> None:
    """The temporary folder is full before, or while, children write what they find."""
    projects.plain(trial)
    trial.file("test_shop.py", LOUD)
    with _small_disk(trial, trial.random.randrange(1, 60) * _PAGE) as disk:
        environment = {"SOAK_FOLDER": str(trial.folder), "TMPDIR": str(disk)}
        ended = pytest_in(trial.folder, "-p", "no:tmpdir", **environment).ended(60)
        trial.ended_well(ended, 1)
        tests = trial.tests()
        trial.has("test_own_child", "LS101", where=tests)
        trial.has("test_after", "LS101", where=tests)
        trial.check("test_forked" in tests, "test_forked is not in the JSON")
        said = notes_of(tests, "test_forked") + ended.text
        trial.check(_FULL in said, "that the disk is full is not said of the forked passes")
        notes = notes_of(tests, "test_own_child")
        trial.check(_FULL in notes, f"that the disk is full is not said of the child: {notes!r}")
        left = [one.name for one in disk.iterdir() if "loopsafe" in one.name]
        trial.check(not left, f"left on the disk: {left}")


WORKER = """
    import logging, os
    from celery import Celery
    import app as shop

    app = Celery("soak", set_as_current=False)
    log = logging.getLogger("shop")


    @app.task
    def task(number):
        shop.publish_twice()
        for _ in range(20):
            log.warning("%s", "x" * 1000)
        return number


    def test_task(loopsafe_celery):
        report = loopsafe_celery.run(task, 1, times=10, timeout=2, check=False)
        report.raise_for_errors()
"""


def celery_on_a_full_disk(trial: Trial) -> None:
    """The temporary folder has messages, results and the spool of a worker."""
    projects.plain(trial)
    trial.file("test_shop.py", WORKER)
    with _small_disk(trial, trial.random.randrange(1, 60) * _PAGE) as disk:
        environment = {"SOAK_FOLDER": str(trial.folder), "TMPDIR": str(disk)}
        ended = pytest_in(trial.folder, "-p", "no:tmpdir", **environment).ended(90)
        trial.ended_well(ended, 1)
        said = notes_of(trial.tests(), "test_task") + ended.text
        trial.check(_FULL in said, f"that the disk is full is not said: {said[-1500:]}")
        left = [one.name for one in disk.iterdir() if "loopsafe" in one.name]
        trial.check(not left, f"left on the disk: {left}")


# -- the spool of a worker of one's own ----------------------------------------------------------

SEND = """
    import sys
    import test_shop

    app = test_shop.app
    app.conf.broker_url = app.conf.result_backend = sys.argv[1]
    results = [test_shop.task.delay(number) for number in range(int(sys.argv[2]))]
    print("DONE", [one.get(timeout=30) for one in results])
"""


def spool_on_a_full_disk(trial: Trial) -> None:
    """The worker goes on serving; what it could not write down is counted in the report."""
    projects.plain(trial)
    trial.file("test_shop.py", WORKER)
    trial.file("send.py", SEND)
    spool = trial.folder / "disk"
    with redis_server() as server, _small_disk(trial, trial.random.randrange(3, 8) * _PAGE):
        command = ["-m", "celery", "-A", "test_shop", "-b", server.url]
        command += ["--result-backend", server.url, "worker", "-c", "1", "--without-mingle"]
        worker = Program(
            [*command, "-I", "pytest_loopsafe.celery"],
            trial.folder,
            LOOPSAFE_SPOOL=str(spool),
            SOAK_FOLDER=str(trial.folder),
        )
        try:
            sent = _beside(trial, ["send.py", server.url, "30"])
            trial.check(f"DONE {list(range(30))}" in sent.text, f"not all ran: {sent.text[-800:]}")
            full = _report(trial, spool)
            trial.check("LS101" in full, "what was found before is not in the report")
            trial.check(_FULL in full, f"that it is incomplete is not in the report: {full[-800:]}")
        finally:
            worker.send(signal.SIGTERM)
            ended = worker.ended(30)
        trial.ended_well(ended, 0)
        trial.check(_FULL in ended.text, "the worker does not say that the disk is full")
        said = ended.text.count(_FULL)
        trial.check(said <= 4, f"the worker says {said} times that the disk is full")


def _beside(trial: Trial, command: list[str]) -> Ended:
    folder = trial.folder / "beside"
    folder.mkdir(exist_ok=True)
    environment = {"PYTHONPATH": os.pathsep.join([str(trial.folder), *filter(None, sys.path)])}
    command = [str(trial.folder / one) if one.endswith(".py") else one for one in command]
    return Program(command, folder, **environment).ended(60)


def _report(trial: Trial, spool: Path) -> str:
    return _beside(trial, ["-m", "pytest_loopsafe", "report", str(spool)]).text


_CHECKED = "exit code 1, said with the reason, all else is told, nothing left"

ROWS = (
    Row("JSON, HTML, SARIF: full tmpfs", _CHECKED, (12, 2), files_on_a_full_disk),
    Row("JSON, HTML, SARIF: limit of size", _CHECKED, (8, 1), files_beyond_a_limit),
    Row("what forked children find: full tmpfs", _CHECKED, (12, 2), children_on_a_full_disk),
    Row("loopsafe_celery: full tmpfs", _CHECKED, (6, 1), celery_on_a_full_disk),
    Row(
        "spool of a worker of one's own: full tmpfs",
        "all tasks are served, the report says what it lacks, the worker says so once",
        (4, 1),
        spool_on_a_full_disk,
    ),
)
