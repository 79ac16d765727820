"""``python -m pytest_loopsafe report DIR``: what a watched worker has found."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from pytest_loopsafe._report.rendering import count, printable, render_report
from pytest_loopsafe._report.report import Contents, LoopReport
from pytest_loopsafe._spool.reader import SpoolReader
from pytest_loopsafe._spool.writer import SpoolError

_NOTHING = """\
{folder}: nothing is recorded there. Was the worker started like this?

    LOOPSAFE_SPOOL={folder} celery -A proj worker -I pytest_loopsafe.celery"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a report of a spool.

    Returns:
        The exit status: 0 without errors, 1 with, 2 where there is nothing to report of.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pytest_loopsafe",
        description="Event-loop-affinity bugs, found in workers that are watched.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser(
        "report",
        help="print what workers have recorded",
        description="Print what was recorded in the folder that LOOPSAFE_SPOOL named for a worker "
        "started with -I pytest_loopsafe.celery. Exits with 1 if there are errors.",
    )
    report.add_argument("folder", metavar="DIR", help="the folder")
    report.add_argument("-v", "--verbose", action="store_true", help="show all frames")
    report.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    return _report(options.folder, verbose=options.verbose, as_json=options.json)


def _report(folder: str, *, verbose: bool, as_json: bool) -> int:
    reader = SpoolReader(folder)
    try:
        reader.poll()
    except SpoolError as error:
        _write(sys.stderr, printable(str(error)))
        return 2
    if not reader.processes:
        _write(sys.stderr, _NOTHING.format(folder=printable(folder)))
        for note in reader.notes():
            _write(sys.stderr, f"note: {printable(note)}")
        return 2
    suspects = dict.fromkeys(
        f"logged, and part of no finding: {line.logger} {line.level} {line.message}"
        + (f" ({line.error})" if line.error else "")
        for line in reader.lines()
        if line.suspect
    )
    notes = (*reader.deaths(), *suspects, *reader.notes())
    contents = Contents(reader.findings(), reader.loops(), schedule="celery", notes=notes)
    report = LoopReport(lambda: contents)
    if as_json:
        calls = [
            {
                "task": one.task,
                "id": one.id,
                "pid": one.process.pid,
                "state": "LOST" if one.lost else one.state,
                "error": one.error,
            }
            for one in reader.calls()
        ]
        _write(sys.stdout, json.dumps({**report.to_json(), "calls": calls}, indent=1))
    else:
        _write(sys.stdout, f"{_header(reader)}\n")
        _write(sys.stdout, render_report(report, verbose=verbose).plain())
    return 1 if report.errors else 0


def _write(stream: TextIO, text: str) -> None:
    """Write a line; what the stream cannot encode as an escape."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _header(reader: SpoolReader) -> str:
    calls = reader.calls()
    tasks = Counter(one.task for one in calls)
    states = Counter("lost" if one.lost else one.state for one in calls)
    ended = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    most = ", ".join(f"{printable(task)} ({number})" for task, number in tasks.most_common(5))
    more = f" and {len(tasks) - 5} more" if len(tasks) > 5 else ""
    return (
        f"{count(len(reader.processes), 'process')}, {count(len(calls), 'call')}"
        f"{f': {printable(ended)}' if ended else ''}"
        f"{chr(10) if tasks else ''}{most}{more}"
    ).replace("processs", "processes")


if __name__ == "__main__":
    sys.exit(main())
