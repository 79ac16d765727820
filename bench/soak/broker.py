"""A broker that is lost in the middle: killed, or stopped, as behind a network that is cut."""

from __future__ import annotations

import functools
import signal
import time

import projects
from processes import Program, pytest_in
from redis_servers import redis_server
from rows import Row, Trial, notes_of

TASKS = """
    import os
    from celery import Celery
    import app as shop

    app = Celery("soak", set_as_current=False)


    @app.task
    def task(number):
        shop.publish_twice()
        shop.tell("now")
        return number


    def test_task(loopsafe_celery):
        url = os.environ["SOAK_REDIS"]
        loopsafe_celery.run(task, 1, times=200, timeout=2, broker=url, backend=url)


    def test_after(loopsafe_celery):
        '''With the embedded broker, which needs no server.'''
        report = loopsafe_celery.run(task, 1, times=2, check=False)
        assert [one.error for one in report.passes] == [None, None]
        assert "LS101" in [one.code for one in report.findings]
"""

SEND = """
    import sys
    import test_shop

    test_shop.app.conf.broker_url = sys.argv[1]
    for number in range(200):
        test_shop.task.apply_async((number,), ignore_result=True)
"""


def lost_in_a_test(way: str, trial: Trial) -> None:
    """The run ends, with what was found; the next test is served."""
    projects.plain(trial)
    trial.file("test_shop.py", TASKS)
    with redis_server() as server:
        program = pytest_in(trial.folder, SOAK_FOLDER=str(trial.folder), SOAK_REDIS=server.url)
        trial.check(program.wait_for(trial.folder / "now"), program.printed()[-800:])
        time.sleep(trial.random.uniform(0, 0.5))
        server.send(getattr(signal, way))
        ended = program.ended(90)
        trial.ended_well(ended, 1)
        tests = trial.tests()
        trial.has("test_task", "LS101", where=tests)
        trial.check(tests.get("test_after", {}).get("outcome") == "passed", "the next test fails")
        notes = notes_of(tests, "test_task")
        is_said = "without any news" in notes or "connect" in ended.text.lower()
        trial.check(is_said, f"that the broker was lost is not said: {ended.text[-1500:]}")


def lost_by_a_worker(way: str, trial: Trial) -> None:
    """A worker of one's own: what it had found is in the spool, and it ends when it is told to."""
    projects.plain(trial)
    trial.file("test_shop.py", TASKS)
    trial.file("send.py", SEND)
    spool = trial.folder / "spool"
    with redis_server() as server:
        command = ["-m", "celery", "-A", "test_shop", "-b", server.url, "worker", "-c", "1"]
        worker = Program(
            [*command, "--without-mingle", "-I", "pytest_loopsafe.celery"],
            trial.folder,
            LOOPSAFE_SPOOL=str(spool),
            SOAK_FOLDER=str(trial.folder),
        )
        try:
            beside = trial.folder / "beside"
            beside.mkdir()
            paths = {"PYTHONPATH": str(trial.folder), "SOAK_FOLDER": str(trial.folder)}
            sender = Program([str(trial.folder / "send.py"), server.url], beside, **paths)
            sender.ended(30)
            trial.check(worker.wait_for(trial.folder / "now"), worker.printed()[-800:])
            time.sleep(trial.random.uniform(0, 0.5))
            server.send(getattr(signal, way))
            time.sleep(0.5)
        finally:
            worker.send(signal.SIGTERM)
            time.sleep(1.0)
            worker.send(signal.SIGQUIT)  # Celery's own wait for a broker may last
            if way == "SIGSTOP":  # for ever, without this plugin too
                time.sleep(1.0)
                worker.send(signal.SIGKILL)
            ended = worker.ended(30)
        trial.ended_well(ended)
        command = ["-m", "pytest_loopsafe", "report", str(spool)]
        report = Program(command, beside, **paths).ended(30)
        trial.check(report.code == 1, f"the report's exit code is {report.code}")
        trial.check("LS101" in report.text, f"LS101 is not in it: {report.text[-800:]}")


_TEST = "exit code 1, the loss is named, what was found is in the JSON, the next test passes"
_OWN = "the worker ends when told to, what it had found is in the report"

ROWS = (
    Row("broker killed in a test", _TEST, (6, 1), functools.partial(lost_in_a_test, "SIGKILL")),
    Row("broker stopped in a test", _TEST, (2, 1), functools.partial(lost_in_a_test, "SIGSTOP")),
    Row(
        "broker killed under a worker", _OWN, (3, 1), functools.partial(lost_by_a_worker, "SIGKILL")
    ),
    Row(
        "broker stopped under a worker",
        _OWN,
        (2, 1),
        functools.partial(lost_by_a_worker, "SIGSTOP"),
    ),
)
