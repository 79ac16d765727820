"""What a marked test fails for beside findings: it has not run over loops as it was asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_loopsafe._plugin import declared
from pytest_loopsafe._plugin.session import Told
from pytest_loopsafe._report.report import Contents, LoopReport
from pytest_loopsafe._words.settings import Settings

if TYPE_CHECKING:
    from pytest_loopsafe._run.runner import LoopRun


def not_run(note: str) -> Told:
    """What there is to report of a test that was left to somebody else."""
    return Told(LoopReport(lambda: Contents(notes=(note,))))


def telling(one: LoopRun | None, other: LoopRun) -> LoopRun:
    """Of two runs of one test, each with another of hypothesis' examples, the one to report.

    There can be hundreds, and most find what the first has found. The last that found an error
    stands for all, since hypothesis ends with the smallest example that fails; else the last that
    found anything, else the last.
    """
    if one is None:
        return other
    ranks = [(bool(run.report.errors), bool(run.report.findings)) for run in (one, other)]
    return one if ranks[0] > ranks[1] else other


_MEANT = f"If that is meant: @pytest.mark.{declared.NAME}(ok_without_loops=True)."


def fail_without_loops(settings: Settings, used: int) -> None:
    """Fail a plain function that made fewer loops than it was to run over.

    Where one loop is to serve all passes, that one may be the code's own.

    Args:
        settings: how it was to run.
        used: how many loops it made, or ran.
    """
    __tracebackhide__ = True
    wanted = 1 if settings.schedule == "persistent" else settings.loops
    if settings.ok_without_loops or used >= wanted:
        return
    if used:
        has = f"{used} loop{'s' if used > 1 else ''} alone"
        more = (
            "a loop was kept for a later pass. For code that is to have one loop there is "
            'schedule="persistent".'
        )
    else:
        has = "no event loop at all"
        more = (
            "it is a plain function, and what was called in its place made and ran none, so that "
            "nothing was tried. Call asyncio.run() in it, or make it async."
        )
    pytest.fail(
        f"the test was to run over {settings.loops} loops, and there was {has}: {more} {_MEANT}",
        pytrace=False,
    )


def fail_for_another(item: pytest.Function, mine: object) -> None:
    """Fail a test whose body another plugin has run, or nobody."""
    __tracebackhide__ = True
    plugins = [
        impl.plugin_name
        for impl in item.ihook.pytest_pyfunc_call.get_hookimpls()[::-1]
        if not (impl.hookwrapper or impl.wrapper)
    ]
    manager = item.config.pluginmanager
    before = plugins[: plugins.index(str(manager.get_name(mine)))]
    who = f"the plugin {' or '.join(map(repr, before))}" if before else type(item).__qualname__
    pytest.fail(
        f"the test did not run over loops: {who} ran something else in its place, or called it "
        "once, as it would without the marker.",
        pytrace=False,
    )
