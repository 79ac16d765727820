"""A pytest plugin that writes each test's outcome down, for ``downstream.py``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

_WEIGHT = ("skipped", "passed", "xfailed", "xpassed", "failed", "error")
_outcomes: dict[str, list[str]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the gravest of a test's phases, with the last line of what it says."""
    outcome: str = report.outcome
    if hasattr(report, "wasxfail"):
        outcome = "xpassed" if report.passed else "xfailed"
    elif report.failed and report.when != "call":
        outcome = "error"
    elif report.passed and report.when != "call":
        return
    before = _outcomes.get(report.nodeid)
    if before is None or _WEIGHT.index(outcome) > _WEIGHT.index(before[0]):
        lines = [line for line in str(report.longrepr or "").splitlines() if line.strip()]
        told = [line for line in lines if line.startswith("E  ")] or lines
        _outcomes[report.nodeid] = [outcome, told[-1][:300] if told else ""]


def pytest_sessionfinish() -> None:
    """Write them to the file that the environment names."""
    Path(os.environ["DOWNSTREAM_OUTCOMES"]).write_text(json.dumps(_outcomes))
