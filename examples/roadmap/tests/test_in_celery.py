"""The same four revisions in a real Celery worker: three tasks in one prefork child.

The worker is a fork of the test process, so the revision's module is in it, just imported. The
figures are those of `test_by_hand.py`, and the same on CPython 3.11, 3.12 and 3.13.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from roadmap.stage import SENT, TOPICS, Browser

if TYPE_CHECKING:
    from pytest_loopsafe import Finding, LoopReport

StartWorker = Callable[[str], ModuleType]
RunTasks = Callable[[ModuleType], "LoopReport"]


@pytest.fixture(params=["embedded", "real"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """The Redis of the notifications: one in the test process, then a server of its own."""
    name = "loopsafe_redis" if request.param == "embedded" else "real_redis_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def run_tasks(request: pytest.FixtureRequest, redis_url: str, loopsafe_celery: Any) -> RunTasks:
    """Send three tasks to a worker. A real Redis is its broker too, else it has one embedded."""
    real = request.node.callspec.params["redis_url"] == "real"

    def run(worker: ModuleType) -> LoopReport:
        task = worker.generate_roadmap
        report: LoopReport = loopsafe_celery.delay_all(
            [task.s(topic.lower(), topic) for topic in TOPICS],
            broker=redis_url if real else None,
            check=False,
            fresh_worker=True,
        )
        return report

    return run


def found(report: LoopReport) -> set[str]:
    """The codes of all errors found, with an `s` after those that the notifier swallowed."""
    return {f"{one.code}{' s' * one.swallowed}" for one in report.errors}


def succeeded(report: LoopReport) -> list[bool]:
    """Of each task, whether it succeeded."""
    return [isinstance(one, list) for one in report.results]


def assert_in_one_child(report: LoopReport, revision: str) -> None:
    """All tasks ran in one process, another than this, and each finding says so."""
    (pid,) = {one.origin.pid for one in report.passes}
    assert pid != os.getpid()
    for finding in report.errors:
        if finding.code == "LS204":
            continue  # by luck, and judged when all calls have ended
        assert_from(finding, pid, f"roadmap.revisions.{revision}.generate_roadmap")


def assert_from(finding: Finding, pid: int, task: str) -> None:
    """The finding names the process, the task and which call of it that was."""
    assert finding.origin is not None
    assert (finding.origin.pid, finding.origin.process) == (pid, "worker child")
    assert finding.origin.task == task
    assert finding.origin.invocation in finding.passes


def test_before(start_worker: StartWorker, browser: Browser, run_tasks: RunTasks) -> None:
    """All tasks succeed; each loses a notification, and its error is swallowed."""
    report = run_tasks(start_worker("before"))

    assert succeeded(report) == [True, True, True]
    assert browser.notifications() == [
        *("python started", "python written"),
        *("asyncio outlined", "asyncio written"),
        *("redis outlined", "redis written"),
    ]
    assert found(report) >= {"LS101 s", "LS103 s", "LS104"}
    assert "LS304" in {one.code for one in report.warnings}
    assert_in_one_child(report, "before")


def test_layer1(start_worker: StartWorker, browser: Browser, run_tasks: RunTasks) -> None:
    """All tasks succeed; each but the first loses its first notification."""
    report = run_tasks(start_worker("layer1"))

    assert succeeded(report) == [True, True, True]
    assert browser.notifications() == [
        *("python started", "python outlined", "python written"),
        *("asyncio outlined", "asyncio written"),
        *("redis outlined", "redis written"),
    ]
    assert found(report) >= {"LS101 s", "LS103 s"}
    assert_in_one_child(report, "layer1")


def test_layer2(start_worker: StartWorker, browser: Browser, run_tasks: RunTasks) -> None:
    """The second task raises, and nothing is swallowed."""
    report = run_tasks(start_worker("layer2"))

    assert succeeded(report) == [True, False, True], report.results
    assert str(report.results[1]) == "Event loop is closed"
    assert browser.notifications() == [
        *("python started", "python outlined", "python written"),
        *("redis started", "redis outlined", "redis written"),
    ]
    assert found(report) >= {"LS103", "LS202"}
    assert_in_one_child(report, "layer2")


def test_safe(start_worker: StartWorker, browser: Browser, run_tasks: RunTasks) -> None:
    """Nothing is found, and all notifications arrive."""
    report = run_tasks(start_worker("safe"))

    assert succeeded(report) == [True, True, True]
    assert report.findings == ()
    assert len(browser.notifications()) == SENT
    assert_in_one_child(report, "safe")
