"""``python -m pytest_loopsafe``: what a watched worker has found, and what a rule means."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from pytest_loopsafe._report import files
from pytest_loopsafe._report.document import encodable, whole
from pytest_loopsafe._report.pages import UnknownRuleError, page_of
from pytest_loopsafe._report.rendering import Detail, render_report
from pytest_loopsafe._report.report import Contents, LoopReport
from pytest_loopsafe._report.text import count, printable
from pytest_loopsafe._spool.reader import SpoolReader
from pytest_loopsafe._spool.writer import SpoolError

_NOTHING = """\
{folder}: nothing is recorded there. Was the worker started like this?

    LOOPSAFE_SPOOL={folder} celery -A proj worker -I pytest_loopsafe.celery"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a report of a spool, or a rule's page.

    Returns:
        The exit status: 0 without errors, 1 with, 2 where there is nothing to print.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pytest_loopsafe",
        description="Event-loop-affinity bugs: what was found, and what it means.",
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
    for option, (text, _) in _FILES.items():
        report.add_argument(option, metavar="PATH", help=text)
    explain = commands.add_parser(
        "explain",
        help="print what a rule means",
        description="Print the pages of rules: what each means, a bad example and a good one.",
    )
    explain.add_argument("codes", metavar="CODE", nargs="+", help="a rule's code, LS203")
    options = parser.parse_args(arguments)
    if options.command == "explain":
        return _explain(options.codes)
    given = {option: getattr(options, option.strip("-")) for option in _FILES}
    wanted = {option: path for option, path in given.items() if path is not None}
    for option, path in wanted.items():
        fault = files.fault_of(path)
        if fault is not None:
            report.error(printable(f"{option}={path}: {fault}"))
    return _report(options.folder, wanted, verbose=options.verbose, as_json=options.json)


def _explain(wanted: Sequence[str]) -> int:
    try:
        pages = [page_of(code) for code in wanted]
    except UnknownRuleError as error:
        _write(sys.stderr, printable(str(error)))
        return 2
    _write(sys.stdout, "\n\n\n".join(pages))
    return 0


def _report(folder: str, wanted: dict[str, str], *, verbose: bool, as_json: bool) -> int:
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
        data = encodable({**report.to_json(), "calls": calls})
        _write(sys.stdout, json.dumps(data, indent=1))
    else:
        _write(sys.stdout, f"{_header(reader)}\n")
        _write(sys.stdout, render_report(report, Detail.ALL if verbose else Detail.BLOCK).plain())
    faults = 0
    for option, path in wanted.items():
        fault = files.write(Path(path), _FILES[option][1](report, reader))
        if fault is not None:
            faults += 1
            _write(sys.stderr, printable(f"{option}={path}: not written: {fault}"))
    return 1 if report.errors or faults else 0


def _document(report: LoopReport) -> dict[str, Any]:
    """The spool as one test: what is of none has no name and no outcome."""
    test = {**report.to_json(), "nodeid": "", "outcome": "", "known": []}
    data: dict[str, Any] = encodable(whole([test]))
    return data


def _page(report: LoopReport, reader: SpoolReader) -> str:
    from pytest_loopsafe._report.page import page  # only when used

    return page(_document(report), {"summary": _summary(reader)})


def _sarif(report: LoopReport, reader: SpoolReader) -> str:
    from pytest_loopsafe import __version__
    from pytest_loopsafe._report.sarif import sarif_text
    from pytest_loopsafe._rules import rules

    return sarif_text(_document(report), Path.cwd(), rules(), __version__)


_FILES: dict[str, tuple[str, Callable[[LoopReport, SpoolReader], str]]] = {
    "--html": ("write an HTML page with a picture of each finding, too", _page),
    "--sarif": ("write a file of SARIF 2.1.0, too", _sarif),
}
"""By option: its help, and who makes the text."""


def _write(stream: TextIO, text: str) -> None:
    """Write a line; what the stream cannot encode as an escape."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _header(reader: SpoolReader) -> str:
    calls = reader.calls()
    tasks = Counter(one.task for one in calls)
    most = ", ".join(f"{printable(task)} ({number})" for task, number in tasks.most_common(5))
    more = f" and {len(tasks) - 5} more" if len(tasks) > 5 else ""
    return f"{_summary(reader)}{chr(10) if tasks else ''}{most}{more}"


def _summary(reader: SpoolReader) -> str:
    """``2 processes, 40 calls: 38 success, 2 lost``."""
    calls = reader.calls()
    states = Counter("lost" if one.lost else one.state for one in calls)
    ended = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return (
        f"{count(len(reader.processes), 'process')}, {count(len(calls), 'call')}"
        f"{f': {printable(ended)}' if ended else ''}"
    ).replace("processs", "processes")


if __name__ == "__main__":
    sys.exit(main())
