"""The detectors: one file for each family of hazards. A new file here is a new detector."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from pytest_loopsafe._rules.base import Detector
from pytest_loopsafe._words.rules import Rule


@functools.cache
def discover() -> tuple[type[Detector], ...]:
    """All detectors of this package, in the order of their files' names."""
    found: list[type[Detector]] = []
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        found += [
            member
            for member in vars(module).values()
            if isinstance(member, type)
            and issubclass(member, Detector)
            and member is not Detector
            and member.__module__ == module.__name__
        ]
    return tuple(found)


@functools.cache
def judging() -> Mapping[type, frozenset[type[Detector]]]:
    """The detectors that judge each kind of sighting: asked anew for each test of an audit."""
    kinds = {kind for one in discover() for kind in one.judges}
    return {kind: frozenset(one for one in discover() if kind in one.judges) for kind in kinds}


def rules() -> tuple[Rule, ...]:
    """All rules that the detectors can report, by code."""
    return tuple(
        sorted({rule for detector in discover() for rule in detector.rules}, key=lambda r: r.code)
    )
