"""pytest-loopsafe finds event-loop-affinity bugs: code that works in one loop and not the next.

This is all of its public interface. Importing it imports no pytest and no asyncio: what a name
needs is loaded when the name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pytest_loopsafe.adapters.base import Adapter as Adapter
    from pytest_loopsafe.adapters.base import NoProbeError as NoProbeError
    from pytest_loopsafe.api import run as run
    from pytest_loopsafe.api import watch as watch
    from pytest_loopsafe.canary import BlindError as BlindError
    from pytest_loopsafe.findings import Finding as Finding
    from pytest_loopsafe.findings import LogLine as LogLine
    from pytest_loopsafe.findings import Origin as Origin
    from pytest_loopsafe.loops import LoopInfo as LoopInfo
    from pytest_loopsafe.passes.schedules import LoopFactoryError as LoopFactoryError
    from pytest_loopsafe.rebinding import Tracked as Tracked
    from pytest_loopsafe.report import LoopReport as LoopReport
    from pytest_loopsafe.report import LoopSafetyError as LoopSafetyError
    from pytest_loopsafe.report import PassOutcome as PassOutcome
    from pytest_loopsafe.rules import Rule as Rule
    from pytest_loopsafe.rules import Severity as Severity
    from pytest_loopsafe.settings import SettingsError as SettingsError
    from pytest_loopsafe.stacks import Frame as Frame
    from pytest_loopsafe.stacks import Stack as Stack
    from pytest_loopsafe.watching import LoopsafeWarning as LoopsafeWarning
    from pytest_loopsafe.workers import WorkerError as WorkerError

_HOMES = {
    "Adapter": "adapters.base",
    "NoProbeError": "adapters.base",
    "Tracked": "rebinding",
    "BlindError": "canary",
    "Finding": "findings",
    "Frame": "stacks",
    "LogLine": "findings",
    "LoopFactoryError": "passes.schedules",
    "LoopInfo": "loops",
    "LoopReport": "report",
    "LoopSafetyError": "report",
    "LoopsafeWarning": "watching",
    "Origin": "findings",
    "PassOutcome": "report",
    "Rule": "rules",
    "SettingsError": "settings",
    "Severity": "rules",
    "Stack": "stacks",
    "WorkerError": "workers",
    "run": "api",
    "watch": "api",
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
    "LoopSafetyError",
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
