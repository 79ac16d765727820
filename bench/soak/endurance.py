"""Passes and tasks by the thousand in one process, each with connections of its own."""

from __future__ import annotations

import json
from typing import Any

from processes import Program, pytest_in
from rows import Row, Trial

# Each time the code under test serves and opens a connection, and one time in ten it awaits what
# the time before has left behind, and hides the error.
SHOP = """
    import asyncio, contextlib, gc, os, threading
    from pathlib import Path

    kept = []
    calls = 0


    async def serve(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()


    async def ask(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"hello\\n")
            await writer.drain()
            assert await reader.readline() == b"hello\\n"
        finally:
            writer.close()
            await writer.wait_closed()


    async def work(bad):
        if bad:
            with contextlib.suppress(RuntimeError):
                await kept[0]
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            await ask(port)
        await asyncio.get_running_loop().run_in_executor(None, int)


    async def leave():
        kept[:] = [asyncio.get_running_loop().create_future()]


    def once():
        '''One of ten leaves a future, and the next one awaits it.'''
        global calls
        calls += 1
        if calls % 10 == 9:
            asyncio.run(leave())
        else:
            asyncio.run(work(calls % 10 == 0))


    def measured():
        '''What this process has now: memory in bytes, descriptors, threads, loops.'''
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        loops = sum(isinstance(one, asyncio.AbstractEventLoop) for one in gc.get_objects())
        return (
            pages * os.sysconf("SC_PAGE_SIZE"),
            len(os.listdir("/proc/self/fd")),
            threading.active_count(),
            loops,
        )
"""

PASSES = """
    import collections, json, sys
    import pytest_loopsafe, shop

    runs, loops = map(int, sys.argv[1:])
    seen, found, notes, errors = [], collections.Counter(), set(), set()


    def body():
        shop.once()
        if shop.calls in (runs * loops // 4, runs * loops):
            seen.append(shop.measured())


    for _ in range(runs):
        report = pytest_loopsafe.run(body, loops=loops, check=False)
        for one in report.findings:
            found[one.code, one.count] += len(one.passes)
        notes.update(report.notes)
        errors.update(repr(one.error) for one in report.passes if one.error)
    print("SEEN", json.dumps({
        "seen": seen,
        "findings": [[code, each, passes] for (code, each), passes in found.items()],
        "notes": sorted(notes),
        "passes": shop.calls,
        "errors": sorted(errors),
    }))
"""

TASKS = """
    import json, os
    from celery import Celery
    import shop

    app = Celery("soak", set_as_current=False)


    @app.task
    def task(number):
        shop.once()
        return shop.measured() if shop.calls in (number // 4, number) else None


    def test_tasks(loopsafe_celery):
        number = int(os.environ["SOAK_TASKS"])
        report = loopsafe_celery.run(task, number, times=number, check=False, fresh_worker=True)
        print("SEEN", json.dumps({
            "seen": [one for one in report.results if one],
            "findings": [(one.code, one.count, len(one.passes)) for one in report.findings],
            "notes": list(report.notes),
            "passes": len(report.passes),
            "errors": sorted({repr(one.error) for one in report.passes if one.error}),
            "children": len({one.origin.pid for one in report.passes}),
        }))
"""


def many_runs(trial: Trial) -> None:
    """Runs of ten passes, one after another, as a session of many tests has them."""
    runs = 20 if trial.is_short else 1000
    _passes(trial, runs, 10)


def one_run(trial: Trial) -> None:
    """A single run of so many passes, whose report has each of them."""
    _passes(trial, 1, 100 if trial.is_short else 1000)


def _passes(trial: Trial, runs: int, loops: int) -> None:
    trial.file("shop.py", SHOP)
    trial.file("passes.py", PASSES)
    program = Program(["passes.py", str(runs), str(loops)], trial.folder)
    # A report has a few lines of each pass and its loop, and of nothing that these held. The
    # schedule remembers in which places loops have been, to have one where none was.
    kept = (_OF_EACH_PASS if runs == 1 else _OF_EACH_PLACE) * runs * loops
    _judge(trial, program, runs * loops, each=loops // 10, kept=kept)


def tasks(trial: Trial) -> None:
    """One run of so many tasks, in one child of a real worker."""
    number = 150 if trial.is_short else 5000
    trial.file("shop.py", SHOP)
    trial.file("test_tasks.py", TASKS)
    program = pytest_in(trial.folder, "-s", SOAK_TASKS=str(number))
    seen = _judge(trial, program, number, each=number // 10, kept=0)
    if seen is not None:
        trial.check(seen["children"] == 1, f"{seen['children']} children ran them, and not one")


def _judge(
    trial: Trial, program: Program, number: int, *, each: int, kept: int
) -> dict[str, Any] | None:
    """What was measured is flat, and each hazard was told once.

    Args:
        trial: the trial.
        program: prints what it has measured after a quarter and at the end, and what was found.
        number: of passes or tasks; one in ten has the hazard.
        each: how many of these are in one report.
        kept: bytes that the report may have grown by.
    """
    ended = program.ended(600)
    trial.ended_well(ended, 0)
    lines = [line for line in ended.text.splitlines() if "SEEN {" in line]
    if not trial.check(lines, f"it has told nothing: {ended.text[-500:]}"):
        return None
    seen: dict[str, Any] = json.loads(lines[0].partition("SEEN ")[2])
    early, late = seen["seen"]
    made = number // 10
    trial.check(seen["passes"] == number, f"{seen['passes']} of {number} have run")
    trial.check(seen["findings"] == [["LS101", each, made]], f"found: {seen['findings']}")
    trial.check(not seen["errors"], f"errors: {seen['errors'][:3]}")
    trial.check(not seen["notes"], f"notes: {seen['notes'][:3]}")
    names = ("descriptors", "threads", "loops")
    for name, before, after in zip(names, early[1:], late[1:], strict=True):
        trial.check(after <= before, f"{name}: {before} after a quarter, {after} at the end")
    grown = late[0] - early[0]
    trial.check(grown <= early[0] * _DRIFT + kept, f"memory grew by {grown / 1e6:.1f} MB")
    trial.says.append(
        f"{number} in {ended.seconds:.0f} s: {early[0] / 1e6:.1f} MB after a quarter, "
        f"{late[0] / 1e6:.1f} MB at the end; {late[1]} descriptors, {late[2]} threads, "
        f"{late[3]} loops; {made} cross-loop awaits made, {seen['findings'][0][2]} told"
    )
    return seen


_DRIFT = 0.05
"""By how much an allocator may drift."""
_OF_EACH_PASS = 4096
_OF_EACH_PLACE = 128
_CHECKED = "memory, descriptors, threads and loops flat; each hazard told once, nothing else"

ROWS = (
    Row("passes in one process, runs of ten", _CHECKED, (1, 1), many_runs),
    Row("passes of one run", f"{_CHECKED}; 4 KB a pass", (1, 1), one_run),
    Row("Celery tasks in one child", _CHECKED, (1, 1), tasks),
)
