"""How a report reads: for each rule the bad example of its page, in a golden file, at two widths.

``LOOPSAFE_GOLDEN=write pytest tests/test_golden_reports.py`` writes the files anew; what has
changed in them is to be read by a person.
"""

import asyncio
import importlib
import os
import re
import sys
from pathlib import Path

import pytest

import pytest_loopsafe
from pytest_loopsafe import _rules as detectors
from pytest_loopsafe._report.rendering import Detail, render_report
from pytest_loopsafe._report.report import Contents, LoopReport
from pytest_loopsafe._report.text import wrapped
from pytest_loopsafe._words.findings import Finding, LogLine
from pytest_loopsafe._words.stacks import Frame, Stack

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "reference" / "rules"
GOLDEN = Path(__file__).parent / "golden"
BAD = re.compile(r"```python\n# bad\n(.*?)```", re.DOTALL)
VARIES = [
    (re.compile(r"'Task-\d+'"), "'Task-N'"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"descriptor \d+"), "descriptor N"),
    (re.compile(r"(child|process,?|thread) \d+"), r"\1 N"),
    (re.compile(r" \(likely: read from the bytecode\)"), ""),
    (re.compile(r"((?:asyncio|futures|python3)(?:\.\d+)?/\w+\.py):\d+"), r"\1:N"),
    (re.compile(r"python3\.\d+/"), ""),
    # From 3.14 on a thread pool calls its job elsewhere.
    (re.compile(r"WorkerContext\.run"), "_WorkItem.run"),
    (re.compile(r"return fn\(\*args, \*\*kwargs\)"), "result = self.fn(*self.args, **self.kwargs)"),
    (re.compile(r"\.connection\[\d\]"), ".connection[N]"),
    (re.compile(r"^note: a part of the heap was frozen.*\n?", re.MULTILINE), ""),
    (re.compile(r"\S*/(?=app\.py:)"), ""),
    (re.compile(r"seen \d+ times|\d+ times"), "seen N times"),
]

pytestmark = [
    pytest.mark.skipif(not PAGES.is_dir(), reason="an installed copy has no docs"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def report(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest_loopsafe.LoopReport:
    """What is found in the rule's bad example, which lies in a file of the project's."""
    (bad,) = BAD.findall((PAGES / f"{code}.md").read_text())
    (tmp_path / "app.py").write_text(bad)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    # In debug mode loops know where futures were made, and refuse some calls from threads.
    monkeypatch.setattr(asyncio.coroutines, "_is_debug_mode", lambda: False)
    sys.modules.pop("app", None)
    app = importlib.import_module("app")
    try:
        return pytest_loopsafe.run(
            app.main, loops=3, check=False, timeout=getattr(app, "timeout", 10)
        )
    finally:
        del sys.modules["app"]
        for value in vars(app).values():
            if isinstance(value, asyncio.AbstractEventLoop):
                value.close()


def normal(text: str) -> str:
    for pattern, instead in VARIES:
        text = pattern.sub(instead, text)
    return text


@pytest.mark.parametrize("code", [rule.code for rule in detectors.rules()])
def test_it_reads_as_in_its_golden_file(code: str, report: pytest_loopsafe.LoopReport) -> None:
    text = render_report(report)
    narrow = [
        "".join(piece for piece, _ in row)
        for line in text.to_json()
        if not line or "heap was frozen" not in line[0][0]
        for row in wrapped([(normal(piece), markup) for piece, markup in line], 60)
    ]
    told = f"{normal(text.plain())}\n\n{'-' * 60}\n\n" + "\n".join(narrow) + "\n"
    path = GOLDEN / f"{code}.txt"
    if os.environ.get("LOOPSAFE_GOLDEN") == "write":
        path.write_text(told)
    assert told == path.read_text()

    blocks = text.plain().split("\n\n")[:-1]
    assert blocks
    assert max(len(block.splitlines()) for block in blocks) <= 12
    assert sum("remedy:" in block for block in blocks) == len(blocks)
    assert [row for row in narrow if len(row) > 60 and " " in row.strip()] == []
    lines = render_report(report, Detail.LINE).plain().splitlines()
    assert len([line for line in lines if not line.startswith("note:")]) == len(blocks)


@pytest.mark.parametrize("findings", [1, 2, 6])
def test_a_block_has_at_most_twelve_lines_however_much_there_is_to_tell(findings: int) -> None:
    """With one finding stacks are left out, with many findings too; `-v` has all."""
    (rule,) = [one for one in detectors.rules() if one.code == "LS101"]
    frames = tuple(Frame("/app.py", number, "go", library=False) for number in range(1, 9))
    seen = tuple(
        Finding(
            rule,
            f"number {number}",
            None,
            None,
            tuple(Stack(f"stack {n} of {number}", frames) for n in range(9)),
            rule.remedy,
            owner="app.client",
            swallowed=True,
            swallowed_at=frames[0],
            logged=(LogLine("app", "ERROR", "lost", 1),) * 3,
        )
        for number in range(findings)
    )
    report = LoopReport(lambda: Contents(seen))

    block, _ = render_report(report).plain().split("\n\n")
    lines = block.splitlines()
    assert len(lines) == 12
    # But for the headline, the rules, the ends and two lines of code, all are stacks.
    assert sum("stack " in line for line in lines) == 6 - min(findings, 3) - int(findings > 3)
    told = render_report(report, Detail.ALL).plain()
    assert all(f"stack {n} of {number}" in told for n in range(9) for number in range(findings))
