"""pytest-loopsafe finds event-loop-affinity bugs: code that works in one loop and not the next.

This is all of its public interface. Importing it imports no pytest and no asyncio: what a name
needs is loaded when the name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from pytest_loopsafe._adapters.base import Adapter as Adapter
    from pytest_loopsafe._adapters.base import NoProbeError as NoProbeError
    from pytest_loopsafe._plugin.fixtures.celery import LoopsafeCelery as LoopsafeCelery
    from pytest_loopsafe._plugin.fixtures.runner import LoopRunner as LoopRunner
    from pytest_loopsafe._report.report import LoopReport as LoopReport
    from pytest_loopsafe._report.report import LoopSafetyError as LoopSafetyError
    from pytest_loopsafe._report.report import LoopsafeWarning as LoopsafeWarning
    from pytest_loopsafe._report.report import PassOutcome as PassOutcome
    from pytest_loopsafe._run.api import run as run
    from pytest_loopsafe._run.api import watch as watch
    from pytest_loopsafe._run.rebinding import Tracked as Tracked
    from pytest_loopsafe._run.schedules import LoopFactoryError as LoopFactoryError
    from pytest_loopsafe._watch.canary import BlindError as BlindError
    from pytest_loopsafe._words.findings import Finding as Finding
    from pytest_loopsafe._words.findings import LogLine as LogLine
    from pytest_loopsafe._words.findings import Origin as Origin
    from pytest_loopsafe._words.loops import LoopInfo as LoopInfo
    from pytest_loopsafe._words.rules import Rule as Rule
    from pytest_loopsafe._words.rules import Severity as Severity
    from pytest_loopsafe._words.settings import SettingsError as SettingsError
    from pytest_loopsafe._words.stacks import Frame as Frame
    from pytest_loopsafe._words.stacks import Stack as Stack
    from pytest_loopsafe._workers import WorkerError as WorkerError

_HOMES = {
    "Adapter": "_adapters.base",
    "NoProbeError": "_adapters.base",
    "Tracked": "_run.rebinding",
    "BlindError": "_watch.canary",
    "Finding": "_words.findings",
    "Frame": "_words.stacks",
    "LogLine": "_words.findings",
    "LoopFactoryError": "_run.schedules",
    "LoopInfo": "_words.loops",
    "LoopReport": "_report.report",
    "LoopRunner": "_plugin.fixtures.runner",
    "LoopSafetyError": "_report.report",
    "LoopsafeCelery": "_plugin.fixtures.celery",
    "LoopsafeWarning": "_report.report",
    "Origin": "_words.findings",
    "PassOutcome": "_report.report",
    "Rule": "_words.rules",
    "SettingsError": "_words.settings",
    "Severity": "_words.rules",
    "Stack": "_words.stacks",
    "WorkerError": "_workers",
    "run": "_run.api",
    "watch": "_run.api",
}

__all__ = [  # noqa: RUF022 - the two functions first
    "run",
    "watch",
    "Adapter",
    "BlindError",
    "Finding",
    "Frame",
    "LogLine",
    "LoopFactoryError",
    "LoopInfo",
    "LoopReport",
    "LoopRunner",
    "LoopSafetyError",
    "LoopsafeCelery",
    "LoopsafeWarning",
    "NoProbeError",
    "Origin",
    "PassOutcome",
    "Rule",
    "SettingsError",
    "Severity",
    "Stack",
    "Tracked",
    "WorkerError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
