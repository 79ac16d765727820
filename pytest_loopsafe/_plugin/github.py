"""A session in GitHub Actions, or in what does as if it were, tells the runner what was found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

OPTION = "--loopsafe-annotations"
CHOICES = ("auto", "github", "none")


def lines_for_runner(config: pytest.Config, tests: list[dict[str, Any]]) -> list[str]:
    """The lines to print, each with what the runner makes of it; the summary is written on the way.

    Empty where no such runner is there.
    """
    choice = config.getoption("loopsafe_annotations")
    is_here = os.environ.get("GITHUB_ACTIONS") == "true"
    if choice == "none" or (choice == "auto" and not is_here) or not tests:
        return []
    from pytest_loopsafe._report import files, github
    from pytest_loopsafe._report.alerts import alerts_of
    from pytest_loopsafe._report.document import whole

    alerts = alerts_of(whole(tests), config.rootpath)
    lines = list(github.annotated(alerts))
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        loops = sum(test["loops"] for test in tests)
        fault = files.append(Path(path), github.summary(alerts, len(tests), loops))
        lines += [f"GITHUB_STEP_SUMMARY={path}: not written: {fault}"] if fault else []
    return lines
