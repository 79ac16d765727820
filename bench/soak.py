"""A soak: thousands of tasks through one child of a real Celery worker.

Run it with `make soak`. One call in ten awaits a future that the call before left behind, and hides
the error. It prints how many of these are in the report (none may be lost, none told twice), what
a call costs, and how much memory the child has in the course of it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from celery import Celery

from pytest_loopsafe._plugin.fixtures.celery import LoopsafeCelery, Workers

app = Celery("soak", set_as_current=False)
kept: list[asyncio.Future[None]] = []
calls = 0


async def work(bad: bool) -> None:
    if bad:
        with suppress(RuntimeError):  # as an `except Exception` of an application would
            await kept[0]
    kept[:] = [asyncio.get_running_loop().create_future()]
    await asyncio.sleep(0)
    if not bad:
        kept[0].set_result(None)


def resident() -> int:
    """This process's memory in bytes, as the operating system counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@app.task
def task() -> int:
    global calls  # one child, so this counts what it has been given
    calls += 1
    if calls % 10 == 9:
        asyncio.run(leave())
    else:
        asyncio.run(work(calls % 10 == 0))
    return resident()


async def leave() -> None:
    kept[:] = [asyncio.get_running_loop().create_future()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    number = parser.parse_args().calls
    workers = Workers()
    try:
        celery = LoopsafeCelery({}, lambda run: None, workers, lambda unasked: app)
        began = time.perf_counter()
        celery.run(task, times=1, check=False)
        first = time.perf_counter() - began
        began = time.perf_counter()
        report = celery.run(task, times=number, check=False, fresh_worker=True)
        each = (time.perf_counter() - began) / number
    finally:
        began = time.perf_counter()
        workers.stop()
        stopped = time.perf_counter() - began
    awaited = [finding for finding in report.findings if finding.code == "LS101"]
    expected = number // 10
    count = sum(finding.count for finding in awaited)
    passes = {one for finding in awaited for one in finding.passes}
    early, late = report.results[number // 4 - 1], report.results[-1]
    others = sorted({finding.code for finding in report.findings} - {"LS101"})
    print(f"worker up, and its first call done:     {first:6.2f} s")
    print(f"a call, sent, run and reported:         {each * 1000:6.1f} ms")
    print(f"stop of the worker:                     {stopped:6.2f} s")
    print(
        f"processes that ran the {number} calls:      {len({p.origin.pid for p in report.passes})}"
    )
    print(f"cross-loop awaits made, reported:       {expected}, {count} in {len(passes)} calls")
    print(f"other findings:                         {', '.join(others) or 'none'}")
    print(
        f"memory after {number // 4} and {number} calls:        {early / 1e6:.1f} MB, "
        f"{late / 1e6:.1f} MB ({late / early - 1:+.1%})"
    )
    for note in report.notes:
        print(f"note: {note}")
    return 0 if count == len(passes) == expected and late <= early * 1.05 else 1


if __name__ == "__main__":
    sys.exit(main())
