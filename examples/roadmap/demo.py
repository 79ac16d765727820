"""The story in the terminal: what a `for` loop sees of each revision, and what loopsafe finds.

Run it with `python examples/roadmap/demo.py`; with `-v` it prints the full reports. It exits with
0 when the story comes out as told, and with 1 when it does not.
"""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from roadmap import stage

import pytest_loopsafe

HERE = Path(__file__).parent
WIDTH = 92


@dataclass(frozen=True)
class Run:
    """One way to run the task under loopsafe."""

    title: str
    schedule: str
    concurrency: int = 1


@dataclass(frozen=True)
class Chapter:
    """One revision, and how its part of the story goes.

    Attributes:
        revision: its module in `roadmap.revisions`.
        does: what it does, in a sentence or two.
        succeeded: how many of the tasks succeed.
        arrived: how many of the notifications arrive.
        logged: how many lost notifications the notifier logs.
        runs: what loopsafe is asked to try.
        rules: what each run has to find, at least; empty for nothing at all.
    """

    revision: str
    does: str
    succeeded: int
    arrived: int
    logged: int
    runs: tuple[Run, ...]
    rules: frozenset[str]


ONE_BY_ONE = Run("three tasks, one after another", "consecutive")

STORY = (
    Chapter(
        "before",
        "The worker keeps one loop for all tasks, and publishes 'started' in a loop of its own. "
        "Both use one global Redis client.",
        succeeded=3,
        arrived=6,
        logged=3,
        runs=(ONE_BY_ONE,),
        rules=frozenset({"LS101", "LS103"}),
    ),
    Chapter(
        "layer1",
        "The first fix: asyncio.run() for each task, hence a clean loop each time. The client is "
        "still global.",
        succeeded=3,
        arrived=7,
        logged=2,
        runs=(ONE_BY_ONE,),
        rules=frozenset({"LS101", "LS103"}),
    ),
    Chapter(
        "layer2",
        "The second fix: the global client remembers id(loop), and is rebuilt when that changes.",
        succeeded=2,
        arrived=6,
        logged=0,
        runs=(ONE_BY_ONE, Run("two tasks at once, in three loops", "recycled", 2)),
        rules=frozenset({"LS103"}),
    ),
    Chapter(
        "safe",
        "The cure: each task opens a client of its own, and closes it before its loop ends.",
        succeeded=3,
        arrived=9,
        logged=0,
        runs=(
            ONE_BY_ONE,
            Run("the same, each loop with the id() of the one before", "recycled"),
            Run("two tasks at once, in three loops", "recycled", 2),
            Run("two tasks at once, three times in one loop", "persistent", 2),
        ),
        rules=frozenset(),
    ),
)


def main(verbose: bool) -> int:
    """Tell the story, and say whether it came out as told."""
    print(
        "A Celery task makes a learning roadmap, and tells the browser three times how far it is:"
    )
    print("task -> notifier -> Redis -> FastAPI -> WebSocket. Each revision runs for real.")
    with stage.redis_server() as redis, stage.environment(redis), stage.web_server() as web:
        wrong = [
            chapter.revision
            for number, chapter in enumerate(STORY, 1)
            if not tell(number, chapter, web, verbose)
        ]
    print()
    if wrong:
        print(f"The story did not come out as told: {', '.join(wrong)}.")
        return 1
    print("Three of the four lose notifications or raise. pytest-loopsafe finds all three, and")
    print("has nothing to say about the fourth." + ("" if verbose else " Full reports: demo.py -v"))
    print("The same in a real Celery worker: pytest examples/roadmap/tests/test_in_celery.py")
    return 0


def tell(number: int, chapter: Chapter, web: str, verbose: bool) -> bool:
    """Tell one chapter; False when it went another way."""
    print(f"\n--- {number}. {chapter.revision} ".ljust(WIDTH, "-"))
    say(chapter.does)

    outcomes, arrived, logged = by_hand(chapter.revision, web)
    errors = [one for one in outcomes if isinstance(one, Exception)]
    succeeded = len(outcomes) - len(errors)
    say("A for loop by hand:")
    say(
        f"{succeeded} of {len(outcomes)} tasks succeeded; the browser got {arrived} of "
        f"{stage.SENT} notifications",
        1,
    )
    if errors:
        say(f"{len(errors)} task raised {errors[0]!r}", 1)
    if logged:
        say(f"{logged} lines 'notification_publish_failed' in the log, and no test reads it", 1)
    as_told = (succeeded, arrived, logged) == (chapter.succeeded, chapter.arrived, chapter.logged)

    say("pytest-loopsafe:")
    for run, report in with_loopsafe(chapter):
        found = {finding.code for finding in report.findings}
        as_told &= chapter.rules <= found if chapter.rules else not found
        groups = report.to_json()["groups"]
        say(f"{run.title}: {tally(len(groups))}", 1)
        if verbose:
            print(textwrap.indent(str(report), "    "))
        else:
            for group in groups:
                show(group, report)
    return as_told


def by_hand(revision: str, web: str) -> tuple[list[object], int, int]:
    """Run three tasks: their outcomes, the notifications that arrived, the failures logged."""
    with (
        stage.failure_log() as failures,
        stage.open_browser(web) as browser,
        stage.worker_process(revision) as worker,
    ):
        outcomes = stage.run_tasks(worker)
        return outcomes, len(browser.notifications()), len(failures)


def with_loopsafe(chapter: Chapter) -> Iterator[tuple[Run, pytest_loopsafe.LoopReport]]:
    """Run the same task under loopsafe, in each way that the chapter asks for."""
    for run in chapter.runs:
        with stage.failure_log(), stage.worker_process(chapter.revision) as worker:
            task = as_coroutine(worker) if run.concurrency > 1 else as_task(worker)
            yield (
                run,
                pytest_loopsafe.run(
                    task, loops=3, schedule=run.schedule, concurrency=run.concurrency, check=False
                ),
            )


def as_task(worker: ModuleType) -> Callable[[], list[str]]:
    """The Celery task, as the worker calls it: each call makes its loop itself."""
    return lambda: worker.generate_roadmap("python", "Python")


def as_coroutine(worker: ModuleType) -> Callable[[], Awaitable[list[str]]]:
    """What is inside the task, so that several can share a loop; each makes a new roadmap."""
    numbers = itertools.count(1)

    async def generate() -> list[str]:
        lessons: list[str] = await worker.connect_and_generate(f"r{next(numbers)}", "Python")
        return lessons

    return generate


def tally(groups: int) -> str:
    """How many things there are to mend, in words."""
    return {0: "nothing found", 1: "1 thing to mend"}.get(groups, f"{groups} things to mend")


def show(group: dict[str, Any], report: pytest_loopsafe.LoopReport) -> None:
    """A group of findings in short: what is wrong, where, under which rules, what to do."""
    lead = report.findings[group["lead"]]
    hidden = ", swallowed" if any(report.findings[at].swallowed for at in group["findings"]) else ""
    where = ""
    if lead.site:
        file = Path(lead.site.file)
        shown = file.relative_to(HERE) if file.is_relative_to(HERE) else file.name
        where = f" at {shown}:{lead.site.line}"
    say(f"{group['headline']}.", 2)
    say(f"{', '.join(group['codes'])}{hidden}{where}", 3)
    say(f"Remedy: {group['remedy']}", 3)


def say(text: str, level: int = 0) -> None:
    """Print a paragraph, indented."""
    print(textwrap.fill(text, WIDTH, initial_indent="  " * level, subsequent_indent="  " * level))


if __name__ == "__main__":
    sys.exit(main(verbose="-v" in sys.argv[1:]))
