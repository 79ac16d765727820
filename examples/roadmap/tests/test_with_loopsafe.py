"""What pytest-loopsafe finds in each revision, in the same three calls."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from roadmap.stage import Browser

if TYPE_CHECKING:
    from pytest_loopsafe import LoopReport

StartWorker = Callable[[str], ModuleType]

# The broken revisions leave connections open; pytest would tell of each one that is collected.
leaves_connections_open = pytest.mark.filterwarnings("ignore::ResourceWarning")

SCHEDULES = ("consecutive", "recycled", "persistent")


def codes(report: LoopReport) -> set[str]:
    """The codes of all findings."""
    return {finding.code for finding in report.findings}


def swallowed(report: LoopReport) -> set[str]:
    """The codes of the findings whose error never left the task."""
    return {finding.code for finding in report.findings if finding.swallowed}


def jobs(worker: ModuleType) -> Callable[[], Awaitable[list[str]]]:
    """The task in async code, each call with a roadmap of its own."""
    numbers = itertools.count(1)

    async def job() -> list[str]:
        lessons: list[str] = await worker.connect_and_generate(f"r{next(numbers)}", "asyncio")
        return lessons

    return job


@leaves_connections_open
@pytest.mark.parametrize("revision", ["before", "layer1"])
def test_what_the_notifier_swallows_is_found(
    revision: str, start_worker: StartWorker, failures: list[str], loopsafe_runner: Any
) -> None:
    """Each task succeeds, and the report is full all the same."""
    worker = start_worker(revision)

    report = loopsafe_runner.run(worker.generate_roadmap, "id", "asyncio", check=False)

    assert [len(lessons) for lessons in report.results] == [4, 4, 4]
    assert {"LS101", "LS103"} <= codes(report)
    assert {"LS101", "LS103"} <= swallowed(report)
    assert failures
    (awaited,) = [finding for finding in report.findings if finding.code == "LS101"]
    assert awaited.site.file.endswith("notifier.py")
    assert awaited.site.code.startswith("number = await self.client.incr(")


@leaves_connections_open
def test_two_tasks_are_enough(
    start_worker: StartWorker, failures: list[str], loopsafe_runner: Any
) -> None:
    """The verdict does not hang on an odd or even number of repetitions."""
    worker = start_worker("layer1")

    report = loopsafe_runner.run(worker.generate_roadmap, "id", "asyncio", loops=2, check=False)

    assert "LS101" in swallowed(report)
    assert failures


@leaves_connections_open
def test_it_fails_a_test(
    start_worker: StartWorker, failures: list[str], loopsafe_runner: Any
) -> None:
    """With `check`, which is the default, a task that succeeded fails its test."""
    worker = start_worker("layer1")

    with pytest.raises(AssertionError, match="LS101 cross-loop-await") as failed:
        loopsafe_runner.run(worker.generate_roadmap, "id", "asyncio")

    assert "LS101" in codes(failed.value.report)


@leaves_connections_open
def test_layer2_closes_from_the_wrong_loop(
    start_worker: StartWorker, failures: list[str], loopsafe_runner: Any
) -> None:
    """Fault 2 is not swallowed: the second task raises."""
    worker = start_worker("layer2")

    report = loopsafe_runner.run(worker.generate_roadmap, "id", "asyncio", check=False)

    assert [isinstance(one, list) for one in report.results] == [True, False, True]
    assert "LS103" in codes(report)
    # What is left of the first client is seen where the third loop has an id of its own; where it
    # has its predecessor's, it is taken for that one.
    assert codes(report) & {"LS202", "LS204"}
    assert "LS103" not in swallowed(report)
    assert failures == []


@leaves_connections_open
def test_layer2_compares_ids(start_worker: StartWorker, loopsafe_runner: Any) -> None:
    """Fault 1: a loop with the id of the one before it is taken for that one."""
    worker = start_worker("layer2")

    report = loopsafe_runner.run(
        worker.generate_roadmap, "id", "asyncio", schedule="recycled", loops=4, check=False
    )

    (taken,) = [finding for finding in report.findings if finding.code == "LS204"]
    assert taken.owner == "roadmap.revisions.layer2.notifier._loop_id"


@leaves_connections_open
def test_layer2_builds_two_at_once(start_worker: StartWorker, loopsafe_runner: Any) -> None:
    """Fault 3: two tasks find no client, both make one, and one of the two is lost."""
    worker = start_worker("layer2")

    report = loopsafe_runner.run(jobs(worker), concurrency=2, check=False)

    (race,) = [finding for finding in report.findings if finding.code == "LS203"]
    assert race.owner == "roadmap.revisions.layer2.notifier.client"


@leaves_connections_open
def test_layer2_does_not_rebind(start_worker: StartWorker, loopsafe_runner: Any) -> None:
    """Asked directly, it breaks most of the six conditions, and the failure says which."""
    worker = start_worker("layer2")

    async def client() -> Any:
        await worker.notifier.connect()
        return worker.notifier.client

    with pytest.raises(AssertionError, match="does not rebind") as failed:
        loopsafe_runner.assert_rebinds(client, concurrency=2)

    broken = [line for line in failed.value.report.verdict if ": BROKEN" in line]
    conditions = {line.strip()[:3] for line in broken}
    assert {"(a)", "(b)", "(e)"} <= conditions
    assert conditions & {"(d)", "(f)"}, "by the id() that the third loop got"


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_safe_rebinds(schedule: str, start_worker: StartWorker, loopsafe_runner: Any) -> None:
    """And the safe revision keeps all six, eight tasks at once."""
    worker = start_worker("safe")

    report = loopsafe_runner.assert_rebinds(worker.clients.get, concurrency=8, schedule=schedule)

    assert report.findings == ()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_safe(
    schedule: str,
    start_worker: StartWorker,
    browser: Browser,
    failures: list[str],
    loopsafe_runner: Any,
) -> None:
    """Nothing is found, and all notifications arrive."""
    worker = start_worker("safe")

    report = loopsafe_runner.run(worker.generate_roadmap, "id", "asyncio", schedule=schedule)

    assert report.findings == ()
    assert len(browser.notifications()) == 9
    assert failures == []


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_safe_with_three_at_once(
    schedule: str,
    start_worker: StartWorker,
    browser: Browser,
    failures: list[str],
    loopsafe_runner: Any,
) -> None:
    """Nor is anything found when tasks share a loop."""
    worker = start_worker("safe")

    report = loopsafe_runner.run(jobs(worker), schedule=schedule, concurrency=3)

    assert report.findings == ()
    assert len(browser.notifications()) == 27
    assert failures == []
