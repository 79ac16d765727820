"""`loopsafe_celery`: tasks in consecutive loops of one real worker child, findings brought home."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import celery_project as project
import pytest
from celery import Celery, chain, chord, group

import pytest_loopsafe
from pytest_loopsafe._plugin.fixtures.celery import LoopsafeCelery, Workers
from pytest_loopsafe._workers import WorkerError
from pytest_loopsafe._workers.host import Worker
from pytest_loopsafe._workers.inherited import Inherited

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Celery's prefork needs os.fork")


def codes(report: pytest_loopsafe.LoopReport) -> set[str]:
    return {finding.code for finding in report.findings}


def only(report: pytest_loopsafe.LoopReport, code: str) -> pytest_loopsafe.Finding:
    (finding,) = [one for one in report.findings if one.code == code]
    return finding


def all_frames(finding: pytest_loopsafe.Finding) -> list[pytest_loopsafe.Frame]:
    return [frame for stack in finding.stacks for frame in stack.frames]


# -- the ordinary case -------------------------------------------------------------------------


def test_a_task_runs_several_times_in_the_same_child(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.count_calls, times=4, fresh_worker=True)
    pids, calls = zip(*report.results)
    assert len(set(pids)) == 1
    assert os.getpid() not in pids
    assert calls == (1, 2, 3, 4)
    assert [one.number for one in report.passes] == [1, 2, 3, 4]
    assert {one.origin.pid for one in report.passes} == set(pids)
    assert {one.origin.task for one in report.passes} == {project.count_calls.name}


def test_the_worker_is_shared_until_a_fresh_one_is_asked_for(loopsafe_celery: Any) -> None:
    (first,) = loopsafe_celery.run(project.count_calls, times=1).results
    (second,) = loopsafe_celery.run(project.count_calls, times=1).results
    (fresh,) = loopsafe_celery.run(project.count_calls, times=1, fresh_worker=True).results
    assert second == [first[0], first[1] + 1]
    assert fresh[0] != first[0]
    assert fresh[1] == 1


def test_a_changed_environment_gets_a_worker_that_knows_it(
    loopsafe_celery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = loopsafe_celery.run(project.count_calls, times=1).results
    monkeypatch.setenv("PROJECT_URL", "another")
    (second,) = loopsafe_celery.run(project.count_calls, times=1).results
    assert first[0] != second[0]


def test_a_patched_object_gets_a_worker_that_has_it(
    loopsafe_celery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> Any:
        return loopsafe_celery.run(project.count_calls, times=1).results[0]

    monkeypatch.setenv("PROJECT_URL", "the same for all of them")
    monkeypatch.setitem(project.state, "calls", 40)
    first, second = run(), run()
    monkeypatch.setattr(project, "state", {"calls": 50})
    patched = run()
    monkeypatch.undo()
    undone = run()
    assert [one[1] for one in (first, second, patched, undone)] == [41, 42, 51, 1]
    assert first[0] == second[0]


@contextmanager
def _overridden() -> Iterator[None]:
    django = pytest.importorskip("django.test")
    from django.conf import settings

    if not settings.configured:
        settings.configure(GREETING="hello")
    with django.override_settings(GREETING="goodbye"):
        yield


@pytest.mark.parametrize(
    "patch",
    [
        lambda: mock.patch("celery_project.await_what_was_kept"),
        lambda: mock.patch("celery_project.redis_url", "redis://127.0.0.1:2/0"),
        lambda: mock.patch.object(Greeter, "greet"),
        lambda: mock.patch("email.message_from_string"),
        _overridden,
    ],
    ids=["mock", "value", "method", "library", "django"],
)
def test_whatever_is_patched_and_by_what_gets_a_worker_that_has_it(
    patch: Any, loopsafe_celery: Any
) -> None:
    def run() -> Any:
        return loopsafe_celery.run(project.count_calls, times=1).results[0][0]

    with patch():
        pass  # what it needs is loaded
    before, again = run(), run()
    with patch():
        within, there = run(), run()
    after = run()
    assert before == again
    assert within == there
    assert len({before, within, after}) == 3


greeted = 0


@pytest.mark.usefixtures("thawed")  # who writes to a name is found on the heap
def test_what_code_counts_for_itself_is_no_patch(loopsafe_celery: Any) -> None:
    def run() -> Any:
        return loopsafe_celery.run(project.count_calls, times=1).results[0][0]

    global greeted
    before = run()
    greeted, Greeter.greetings = greeted + 1, Greeter.greetings + 1
    assert run() == before


class Greeter:
    greetings = 0

    def greet(self) -> str:
        return "hello"


def test_a_changed_setting_gets_a_worker_that_knows_it(loopsafe_celery: Any) -> None:
    def run() -> Any:
        return loopsafe_celery.run(project.count_calls, times=1).results[0][0]

    first, second = run(), run()
    project.app.conf.broker_transport_options = options = {"queues": [1]}
    try:
        third = run()
        options["queues"].append(2)
        fourth = run()
    finally:
        del project.app.conf.changes["broker_transport_options"]
    assert first == second
    assert len({first, third, fourth, run()}) == 4


def test_settings_of_any_kind_stay_the_same_for_as_long_as_they_do() -> None:
    class Settings:
        broker_url = "redis://127.0.0.1:1/0"
        task_annotations: ClassVar[dict[str, Any]] = {"*": {"rate_limit": [1]}}

        def task_routes(self, *_: Any) -> None: ...

    for given in (Settings(), Settings, sys.modules[__name__]):
        app = Celery("proj", set_as_current=False)
        app.config_from_object(given)
        now = Inherited.of(app)
        assert Inherited.of(app) == now
        Settings.task_annotations["*"]["rate_limit"].append(2)
        assert (Inherited.of(app) == now) is (given is sys.modules[__name__])
        now = Inherited.of(app)
        app.conf.timezone = "Europe/Lisbon"
        assert Inherited.of(app) != now


def test_a_redis_of_the_tests_own(
    loopsafe_celery: Any, loopsafe_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery_project.redis_url", loopsafe_redis)
    assert loopsafe_celery.run(project.count_in_redis).results == (1, 2, 3)


def test_a_task_that_a_test_defines_is_known_to_the_worker(loopsafe_celery: Any) -> None:
    loopsafe_celery.run(project.safe, times=1)

    @project.app.task(name="defined-in-a-test", shared=False)
    def local(number: int) -> int:
        return number + 1

    try:
        assert loopsafe_celery.run(local, 1, times=2).results == (2, 2)
    finally:
        project.app.tasks.pop("defined-in-a-test")


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_loop_safe_tasks_are_never_accused(
    pool: str, concurrency: int, loopsafe_celery: Any
) -> None:
    report = loopsafe_celery.run(project.safe, times=6, pool=pool, concurrency=concurrency)
    assert report.findings == ()
    assert report.results == ("done",) * 6
    assert len(report.loops) == 6
    assert report.notes == ()


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_what_a_task_swallows_is_found(pool: str, loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.unsafe, pool=pool, check=False, fresh_worker=True)
    assert report.results == ("first", "RuntimeError", "RuntimeError")
    finding = only(report, "LS101")
    assert finding.swallowed
    assert (finding.count, finding.passes) == (2, (2, 3))
    assert finding.owner == "celery_project.kept[0]"
    assert finding.site is not None
    assert finding.site.function == "await_what_was_kept"
    assert finding.origin is not None
    assert finding.origin.task == project.unsafe.name
    assert finding.origin.invocation == 2
    assert finding.origin.task_id == report.passes[1].origin.task_id
    assert finding.origin.pid == report.passes[1].origin.pid
    assert f"in worker{' child' * (pool == 'prefork')} {finding.origin.pid}" in str(report)
    assert {stack.title for stack in finding.stacks} >= {"awaited in loop 2", "loop 1 was made"}
    assert not any(frame.function.startswith("test_") for frame in all_frames(finding))


@pytest.mark.parametrize(
    ("task", "code"),
    [
        (project.forget_work, "LS307"),
        (project.give_up_waiting, "LS307"),
        (project.use_pool_of_parent, "LS401"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_outlives_a_call_or_a_fork(task: Any, code: str, loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(task, check=False, fresh_worker=True)
    found = only(report, code)
    assert found.is_error
    assert found.origin is not None
    assert found.origin.task == task.name


def test_a_process_that_misses_the_question_is_asked_again(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.miss_a_signal, times=1, check=False, fresh_worker=True)
    assert not any("did not answer" in note for note in report.notes)
    assert only(report, "LS304").message.endswith("was created and never closed")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_stray_signal_ends_no_run(pool: str, loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.get_a_stray_signal, times=4, pool=pool)
    assert (len(report.passes), report.notes) == (4, ())


def test_it_fails_a_test(loopsafe_celery: Any) -> None:
    with pytest.raises(pytest_loopsafe.LoopSafetyError, match="LS101 cross-loop-await"):
        loopsafe_celery.run(project.unsafe)


def test_a_report_is_of_its_own_run_alone(loopsafe_celery: Any) -> None:
    assert codes(loopsafe_celery.run(project.unsafe, check=False)) == {"LS101"}
    assert loopsafe_celery.run(project.safe).findings == ()
    assert only(loopsafe_celery.run(project.unsafe, times=2, check=False), "LS101").count == 2


def test_several_children_share_the_calls(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(
        project.unsafe_and_slow, 0.2, times=6, concurrency=2, check=False, fresh_worker=True
    )
    assert len({one.origin.pid for one in report.passes}) == 2
    assert only(report, "LS101").count >= 6  # one hazard, met by both


# -- mixes -------------------------------------------------------------------------------------


def test_chains_groups_and_chords_run_to_their_end(loopsafe_celery: Any) -> None:
    add = project.add
    report = loopsafe_celery.delay_all(
        [
            chain(add.s(1, 2), add.s(3)),
            group(add.s(one, one) for one in range(3)),
            chord([add.s(1, 1), add.s(2, 2)], project.total.s()),
            project.safe.si(),
            add.s(10, 10),
        ],
    )
    values = [one.value for one in report.passes if one.origin.task != "celery.chord_unlock"]
    assert sorted(values, key=str) == sorted([3, 6, 0, 2, 4, 2, 4, 6, "done", 20], key=str)
    assert report.findings == ()


def test_what_tasks_send_themselves_is_waited_for(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.send_more, 3, times=1)
    assert len(report.passes) == 4


def test_a_task_for_another_queue_is_run_too(loopsafe_celery: Any) -> None:
    elsewhere = project.safe.s().set(queue="a-queue-of-its-own")
    assert loopsafe_celery.run(elsewhere, times=1).results == ("done",)


def test_a_task_without_a_result_is_waited_for_too(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.without_result)
    assert report.results == (None, None, None)


def test_tasks_are_given_by_signature_or_name_as_well(loopsafe_celery: Any) -> None:
    assert loopsafe_celery.run(project.add.s(1, 2), times=1).results == (3,)
    by_name = loopsafe_celery.run(project.add.name, 1, 2, times=1, app=project.app)
    assert by_name.results == (3,)


# -- nothing is lost ---------------------------------------------------------------------------


def test_when_the_task_raises(loopsafe_celery: Any) -> None:
    with pytest.raises(LookupError, match="the task's own") as raised:
        loopsafe_celery.run(project.unsafe_and_raises, fresh_worker=True)
    assert "LS101" in "".join(raised.value.__notes__)
    # The task's traceback comes first, from the task on, and then the test's line.
    shown = str(raised.getrepr(style="long"))
    assert shown.startswith("pytest_loopsafe.TracebackInWorker: of call 1 in worker child ")
    lines = [one.strip() for one in shown.splitlines()]
    at = lines.index("Traceback (most recent call last):")
    assert re.match(r'File ".*celery_project.py", line \d+, in unsafe_and_raises', lines[at + 1])
    assert f"{Path(__file__).name}:" in shown
    assert not [one for one in lines if f"{os.sep}_plugin{os.sep}" in one or "_workers" in one]


def test_when_the_task_raises_through_what_is_watched(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.unsafe_and_loud, times=2, check=False, fresh_worker=True)
    files = re.findall(r'File "(.*?)"', str(report.passes[1].error.__cause__))
    assert [Path(files[0]).name, Path(files[-1]).name] == ["celery_project.py", "mixins.py"]
    assert not [file for file in files if "pytest_loopsafe" in file]


def test_when_the_task_is_retried(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(
        project.unsafe_and_retried, times=1, check=False, fresh_worker=True
    )
    assert len(report.passes) == 3
    assert len({one.origin.task_id for one in report.passes}) == 1
    assert only(report, "LS101").passes == (2, 3)


@pytest.mark.parametrize(("how", "named"), [("os._exit", "exitcode 3"), ("SIGKILL", "SIGKILL")])
def test_when_the_child_is_killed(how: str, named: str, loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(
        project.unsafe_and_dies, how, times=2, check=False, fresh_worker=True
    )
    assert only(report, "LS101").count == 2
    assert len({one.origin.pid for one in report.passes}) == 2
    for outcome, note in zip(report.passes, report.notes, strict=True):
        assert f"worker child {outcome.origin.pid} died ({named}" in note.replace("signal 9 (", "")
        assert project.unsafe_and_dies.name in note
        assert isinstance(outcome.error, Exception)


@pytest.mark.parametrize("limit", ["soft_time_limit", "time_limit"])
def test_when_the_task_is_out_of_time(limit: str, loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(
        project.unsafe_and_slow.s(60).set(**{limit: 1}), times=1, check=False, fresh_worker=True
    )
    assert only(report, "LS101").count == 1
    assert "TimeLimitExceeded" in repr(report.results[0])


def test_when_it_never_begins(loopsafe_celery: Any) -> None:
    expired = project.safe.si().set(expires=datetime(2020, 1, 1, tzinfo=UTC))
    report = loopsafe_celery.delay_all([expired])
    assert report.passes == ()
    (note,) = report.notes
    assert "never began in a watched process" in note
    assert "TaskRevokedError: expired" in note


def test_when_the_child_has_served_its_number_of_tasks(loopsafe_celery: Any) -> None:
    before = project.app.conf.worker_max_tasks_per_child
    project.app.conf.worker_max_tasks_per_child = 2
    try:
        report = loopsafe_celery.run(project.unsafe, times=4, check=False, fresh_worker=True)
    finally:
        project.app.conf.worker_max_tasks_per_child = before
    assert only(report, "LS101").passes == (2, 4)
    assert len({one.origin.pid for one in report.passes}) == 2
    assert any("ended in order" in note for note in report.notes)


def test_when_the_whole_worker_is_killed(loopsafe_celery: Any) -> None:
    @project.app.task(name="kill-the-worker", shared=False)
    def kill_the_worker() -> None:
        asyncio.run(project.await_what_was_kept())
        asyncio.run(project.await_what_was_kept())
        os.kill(os.getppid(), 9)
        time.sleep(60)

    try:
        report = loopsafe_celery.run(kill_the_worker, times=2, check=False, fresh_worker=True)
    finally:
        project.app.tasks.pop("kill-the-worker")
    assert only(report, "LS101").count == 1
    assert any("the worker is gone" in note for note in report.notes)
    assert loopsafe_celery.run(project.safe).results == ("done",) * 3  # a new one


def test_when_it_hangs(loopsafe_celery: Any) -> None:
    started = time.monotonic()
    report = loopsafe_celery.run(project.hang, times=3, timeout=0.5, check=False)
    assert time.monotonic() - started < 10
    assert "waits for an Event" in only(report, "LS106").message
    assert len(report.passes) == 1
    assert isinstance(report.results[0], TimeoutError)


# -- logs ------------------------------------------------------------------------------------


def test_what_the_child_logs_is_in_the_report(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.unsafe, check=False, fresh_worker=True)
    with pytest.raises(AssertionError, match="message_lost"):
        report.assert_not_logged("message_lost")
    report.assert_not_logged("message_kept")
    lines = [line for line in report.logs if line.message == "message_lost"]
    assert [line.pass_number for line in lines] == [2, 3]
    (evidence,) = only(report, "LS101").logged
    assert (evidence.logger, evidence.level) == ("project", "ERROR")
    assert "attached to a different loop" in (evidence.error or "")
    assert "logged:    project ERROR message_lost" in str(report)


def test_structlog_in_the_child(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.log_with_structlog, times=1)
    with pytest.raises(AssertionError, match="message_lost number=7"):
        report.assert_not_logged("message_lost")


def test_what_was_logged_before_a_kill_is_kept(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(
        project.unsafe_and_dies, "SIGKILL", times=1, check=False, fresh_worker=True
    )
    with pytest.raises(AssertionError, match="message_lost"):
        report.assert_not_logged("message_lost")


# -- the fork ----------------------------------------------------------------------------------


def test_a_loop_made_at_import_is_the_parents(loopsafe_celery: Any) -> None:
    finding = only(loopsafe_celery.run(project.run_parents_loop, check=False), "LS401")
    assert finding.owner == "celery_project.parents_loop"
    assert "was run in a forked child" in finding.message


def test_a_future_made_at_import_is_the_parents(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.await_parents_future, check=False)
    finding = only(report, "LS401")
    assert finding.swallowed
    assert finding.owner == "celery_project.parents_future"


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_without_a_fork_nothing_is_inherited(pool: str, loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.run_parents_loop, pool=pool, check=False)
    assert "LS401" not in codes(report)


def test_what_worker_process_init_makes_is_the_childs_own(loopsafe_celery: Any) -> None:
    from celery import signals

    made: list[Any] = []

    def make(**_: Any) -> None:
        made.append(asyncio.new_event_loop())

    @project.app.task(name="run-the-childs-loop", shared=False)
    def use() -> None:
        made[0].run_until_complete(asyncio.sleep(0))

    signals.worker_process_init.connect(make, weak=False)
    try:
        report = loopsafe_celery.run(use, fresh_worker=True)
    finally:
        signals.worker_process_init.disconnect(make)
        project.app.tasks.pop("run-the-childs-loop")
    assert codes(report) == set()


@pytest.mark.parametrize("when", ["worker_init", "worker_process_init"])
def test_a_connection_made_before_the_fork_is_shared(
    when: str, loopsafe_celery: Any, loopsafe_redis: str
) -> None:
    import redis.asyncio
    from celery import signals

    clients: list[Any] = []

    def make(**_: Any) -> None:
        async def connect() -> None:
            clients.append(redis.asyncio.Redis.from_url(loopsafe_redis))
            await clients[0].ping()

        asyncio.run(connect())

    @project.app.task(name="ping", shared=False)
    def ping() -> str:
        async def work() -> str:
            try:
                await clients[0].ping()
            except Exception as error:
                return type(error).__name__
            return "pong"

        return asyncio.run(work())

    signal = getattr(signals, when)
    signal.connect(make, weak=False)
    try:
        report = loopsafe_celery.run(ping, times=1, check=False, fresh_worker=True)
    finally:
        signal.disconnect(make)
        project.app.tasks.pop("ping")
    inherited = {"LS401", "LS402"}
    assert bool(codes(report) & inherited) == (when == "worker_init"), str(report)
    assert codes(report) & {"LS402", "LS103"}


# -- asking for what cannot be done ------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool": "gevent"}, "pool='gevent' is not allowed: gevent runs all tasks in one thread"),
        ({"pool": "eventlet"}, "pool='eventlet' is not allowed"),
        ({"pool": "forks"}, "pool='forks' is not known: give one of prefork, solo, threads"),
        ({"times": 0}, "times=0 is not allowed: give a whole number, 1 or more"),
        ({"concurrency": 0}, "concurrency=0 is not allowed"),
        ({"timeout": -1}, "timeout=-1 is not allowed"),
        ({"ignore": "XX1"}, "'XX1' is not a rule to ignore"),
        ({"app": 3}, "app=3 is not allowed: give a Celery app"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str, loopsafe_celery: Any) -> None:
    with pytest.raises(pytest_loopsafe.SettingsError) as refused:
        loopsafe_celery.run(project.safe, **arguments)
    assert message in str(refused.value)


def test_what_is_no_task(loopsafe_celery: Any) -> None:
    with pytest.raises(TypeError, match="is no Celery task: give a task, its name, or a signature"):
        loopsafe_celery.run(print)
    with pytest.raises(pytest_loopsafe.SettingsError, match=r"has no task 'no\.such\.task'"):
        loopsafe_celery.run("no.such.task", app=project.app)
    with pytest.raises(pytest_loopsafe.SettingsError, match="give at least one"):
        loopsafe_celery.delay_all([])


def test_rules_can_be_ignored_and_warnings_made_errors(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(project.unsafe, ignore="LS1", fresh_worker=True)
    assert "LS101" not in codes(report)


# -- the app, and what is left behind ----------------------------------------------------------


PROJECT = """
    from celery import Celery
    app = Celery("proj", broker="redis://127.0.0.1:1/0", set_as_current=False)

    @app.task
    def add(a, b):
        return a + b
"""


def test_the_app_comes_from_the_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        proj=PROJECT,
        test_it="""
            def test_it(loopsafe_celery):
                assert loopsafe_celery.run("proj.add", 1, 2).results == (3, 3, 3)
        """,
    )
    pytester.makeini("[pytest]\npythonpath = .\nloopsafe_celery_app = proj:app")
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)
    pytester.makeini("[pytest]\npythonpath = .\nloopsafe_celery_app = proj:nope")
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines(["*loopsafe_celery_app: 'proj:nope' leads nowhere*"])


def test_the_app_comes_from_the_task(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        proj=PROJECT,
        test_it="""
            import pytest, proj
            def test_it(loopsafe_celery):
                assert loopsafe_celery.run(proj.add, 1, 2).results == (3, 3, 3)
            def test_without(loopsafe_celery):
                with pytest.raises(ValueError, match="knows no Celery app"):
                    loopsafe_celery.run("proj.add", 1, 2)
        """,
    )
    pytester.makeini("[pytest]\npythonpath = .")
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=2)


def test_the_fixture_of_the_test_is_the_app(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        proj=PROJECT,
        test_it="""
            import pytest, proj
            @pytest.fixture
            def celery_app():
                return proj.app
            def test_asked_for(celery_app, loopsafe_celery):
                assert loopsafe_celery.run("proj.add", 1, 2).results == (3, 3, 3)
            def test_not_asked_for(loopsafe_celery):
                assert loopsafe_celery.run("proj.add", 1, 2).results == (3, 3, 3)
        """,
    )
    pytester.makeini("[pytest]\npythonpath = .")
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=2)


def test_the_loops_of_async_tests_are_not_in_the_worker(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(
        """
        import asyncio, warnings
        import pytest
        from celery import Celery
        app = Celery("old", set_as_current=False)

        @app.task
        def old_style():
            warnings.simplefilter("ignore")
            try:
                loop = asyncio.get_event_loop()
            except RuntimeError:  # from CPython 3.14 on there is none: the task makes it
                loop = asyncio.new_event_loop()
                asyncio.set_event_loop(loop)
            return loop.run_until_complete(asyncio.sleep(0, "done"))

        @pytest.mark.asyncio
        async def test_before():
            pass

        def test_sync(loopsafe_celery):
            loopsafe_celery.run(old_style)

        @pytest.mark.asyncio
        async def test_async(loopsafe_celery):
            loopsafe_celery.run(old_style, fresh_worker=True)
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=3)


def test_beside_celerys_own_plugin(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import threading
        import pytest
        pytest_plugins = ("celery.contrib.pytest",)

        def test_theirs_and_ours(celery_app, celery_worker, loopsafe_celery):
            @celery_app.task
            def double(n):
                return 2 * n
            celery_worker.reload()
            assert double.delay(2).get(timeout=10) == 4
            assert loopsafe_celery.run(double, 3).results == (6, 6, 6)
            assert double.delay(4).get(timeout=10) == 8

        def test_theirs_is_not_started(celery_app, loopsafe_celery):
            @celery_app.task
            def triple(n):
                return 3 * n
            before = threading.active_count()
            assert loopsafe_celery.run(triple, 3).results == (9, 9, 9)
            assert threading.active_count() == before
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:randomly")
    result.assert_outcomes(passed=2)


def test_nothing_is_left_behind(pytester: pytest.Pytester, tmp_path: Path) -> None:
    pytester.makepyfile(
        proj=PROJECT,
        test_it="""
            import logging, os, threading
            import proj
            from kombu.transport import TRANSPORT_ALIASES

            def test_it(loopsafe_celery):
                assert proj.app.conf.broker_url  # read now, as any use of the app does
                before = dict(proj.app.conf.changes), threading.enumerate()
                loggers = logging.root.handlers[:], logging.root.level
                environment = dict(os.environ)
                report = loopsafe_celery.run(proj.add, 1, 2, times=1)
                assert proj.app.conf.broker_url == "redis://127.0.0.1:1/0"
                assert (dict(proj.app.conf.changes), threading.enumerate()) == before
                assert (logging.root.handlers, logging.root.level) == loggers
                assert dict(os.environ) == environment
                print("PID", report.passes[0].origin.pid, "PARENT", os.getpid())
        """,
    )
    pytester.makeini("[pytest]\npythonpath = .")
    pytester._monkeypatch.setenv("TMPDIR", str(tmp_path))  # what is left there is ours
    result = pytester.runpytest_subprocess("-s")
    result.assert_outcomes(passed=1)
    line = next(line for line in result.outlines if "PID" in line).split()
    child = int(line[line.index("PID") + 1])
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_workers_are_stopped_leaves_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    workers = Workers()
    celery = LoopsafeCelery({}, lambda run: None, workers, lambda unasked: project.app, lambda: ())
    pids = [
        celery.run(project.count_calls, times=1, pool=pool).results[0][0]
        for pool in ("prefork", "solo")
    ]
    assert len(list(tmp_path.iterdir())) == 2

    def interrupted(worker: Worker) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "alive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        workers.stop()

    assert list(tmp_path.iterdir()) == []
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_worker_that_finds_the_disk_full_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot log that either; and what it has begun to make is removed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Worker, "_be_worker", lambda self: os._exit(1))
    written = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "is-there-room":
            raise OSError(28, "No space left on device")
        return written(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    celery = LoopsafeCelery({}, lambda run: None, Workers(), lambda unasked: project.app, tuple)
    with pytest.raises(WorkerError, match="cannot be written to: No space left on device"):
        celery.run(project.safe)
    assert list(tmp_path.iterdir()) == []


def test_the_worker_does_not_outlive_a_killed_test_process(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process of its parent's death")
    pytester.makepyfile(
        proj=PROJECT,
        test_it="""
            import os
            import proj
            def test_it(loopsafe_celery):
                report = loopsafe_celery.run(proj.add, 1, 2, times=1)
                print("PID", report.passes[0].origin.pid, flush=True)
                os.kill(os.getpid(), 9)
        """,
    )
    pytester.makeini("[pytest]\npythonpath = .")
    pytester._monkeypatch.setenv("TMPDIR", str(tmp_path))
    output = pytester.runpytest_subprocess("-s").stdout.str().split()
    child = int(output[output.index("PID") + 1])
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists()


def test_without_celery_it_says_what_to_install(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        sys.modules["celery"] = None
        def test_it(loopsafe_celery): ...
        """
    )
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines(["*pip install 'pytest-loopsafe[[]celery[]]'*"])


# -- other brokers -----------------------------------------------------------------------------


def test_redis_as_broker_and_backend(loopsafe_celery: Any, redis_url: str) -> None:
    import redis

    report = loopsafe_celery.delay_all(
        [chain(project.add.s(1, 2), project.add.s(3)), project.safe.si()],
        broker=redis_url,
        backend=redis_url,
    )
    assert {one.value for one in report.passes} == {3, 6, "done"}
    unsafe = loopsafe_celery.run(
        project.unsafe, broker=redis_url, backend=redis_url, check=False, fresh_worker=True
    )
    assert only(unsafe, "LS101").count == 2
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


@pytest.mark.skipif("RABBITMQ_URL" not in os.environ, reason="set RABBITMQ_URL to a RabbitMQ")
def test_rabbitmq_as_broker(loopsafe_celery: Any) -> None:
    broker = os.environ["RABBITMQ_URL"]
    report = loopsafe_celery.run(project.unsafe, broker=broker, check=False, fresh_worker=True)
    assert only(report, "LS101").count == 2


# -- a worker of one's own ---------------------------------------------------------------------


@pytest.fixture
def spool(tmp_path: Path, redis_url: str) -> Iterator[Path]:
    """What a worker started from the command line has recorded, after three tasks and a death."""
    folder = tmp_path / "spool"
    environment = {
        **os.environ,
        "LOOPSAFE_SPOOL": str(folder),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
    }
    command = [sys.executable, "-m", "celery", "-A", "celery_project", "-b", redis_url]
    worker = subprocess.Popen(
        [*command, "worker", "-c", "1", "-I", "pytest_loopsafe.celery", "-Q", "own"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with project.app.connection(redis_url) as connection:
            producer = project.app.amqp.Producer(connection)
            for task in (project.unsafe, project.unsafe, project.unsafe):
                task.apply_async(producer=producer, queue="own")
            project.unsafe_and_dies.apply_async(("SIGKILL",), producer=producer, queue="own")
        deadline = time.monotonic() + 30
        while "died" not in show(folder).stdout and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        worker.terminate()
        output, _ = worker.communicate(timeout=30)
    assert "Traceback" not in output or "WorkerLostError" in output, output
    yield folder


def show(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest_loopsafe", "report", str(folder), *options],
        capture_output=True,
        text=True,
    )


def test_a_worker_of_ones_own_is_recorded_and_reported(spool: Path) -> None:
    import json

    text = show(spool)
    assert text.returncode == 1
    assert "4 calls: 3 SUCCESS, 1 lost" in text.stdout
    assert "LS101 cross-loop-await" in text.stdout
    assert "celery_project.kept[0] (Future) belongs to " in text.stdout
    assert "died" in text.stdout
    data = json.loads(show(spool, "--json").stdout)
    assert {one["state"] for one in data["calls"]} == {"SUCCESS", "LOST"}
    assert data["findings"][0]["origin"]["task"] == project.unsafe.name


def test_a_spool_without_errors_and_no_spool(tmp_path: Path) -> None:
    missing = show(tmp_path / "none")
    assert (missing.returncode, "cannot be read" in missing.stderr) == (2, True)
    empty = show(tmp_path)
    assert (empty.returncode, "nothing is recorded there" in empty.stderr) == (2, True)


def test_importing_it_without_a_spool_only_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import pytest_loopsafe.celery, sys; print('pytest' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "LOOPSAFE_SPOOL"},
    )
    assert "LOOPSAFE_SPOOL is not set: this worker is not watched" in result.stderr
    assert result.stdout == "False\n"  # what runs in a worker imports no pytest


def test_a_fork_leaves_the_test_process_single_threaded(loopsafe_celery: Any) -> None:
    before = threading.active_count()
    loopsafe_celery.run(project.safe, times=1)
    assert threading.active_count() == before
    assert Path(tempfile.gettempdir()).is_dir()
