"""From what the user wrote, in markers and ini options, to settings."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_loopsafe._plugin.declared import INI, KINDS, NAME, OWN
from pytest_loopsafe._words.settings import (
    Settings,
    SettingsError,
    parse_ignores,
    parse_own,
)


def own_code(config: pytest.Config) -> tuple[str, ...]:
    """What the project says is its own code. The same for all its tests, so no test has its own.

    Raises:
        pytest.UsageError: for a value that is not allowed.
    """
    try:
        return parse_own(config.getini(OWN[0]) or ())
    except (SettingsError, TypeError, pytest.UsageError) as error:
        raise pytest.UsageError(f"ini option {OWN[0]}: {error}") from None


def defaults(config: pytest.Config, item: pytest.Item | None = None) -> dict[str, Any]:
    """The settings that the ini options make.

    Args:
        config: pytest's.
        item: the test that they are for; without one, what holds for all.

    Raises:
        pytest.UsageError: for a value that is not allowed.
    """
    found: dict[str, Any] = {}
    for name, kind, _ in INI:
        try:
            value = config.getini(f"loopsafe_{name}")
            if value in (None, "", []):
                continue
            if kind in ("int", "float") and isinstance(value, str):
                value = int(value) if kind == "int" else float(value)
            if name == "ignore":
                value = _ignored_in(item, value)
            else:
                Settings.checked(**{name: value})
        except SettingsError as error:
            raise pytest.UsageError(f"ini option loopsafe_{name}: {error}") from None
        except (ValueError, TypeError, pytest.UsageError) as error:
            raise pytest.UsageError(
                f"ini option loopsafe_{name}: {error}; give {KINDS[kind]}"
            ) from None
        found[name] = value
    return found


def _ignored_in(item: pytest.Item | None, entries: Any) -> list[str]:
    """What is ignored in a test, without the words that say so."""
    return [
        str(replace(one, tests=None))
        for one in parse_ignores(entries, tests=True)
        if one.tests is None or (item is not None and one.is_for(item.nodeid))
    ]


def marked(item: pytest.Item) -> Settings | None:
    """The settings of a test's closest ``multi_loop`` marker, or None where it has none.

    None also for an item that cannot be run over loops: its setup fails, and says why.

    Raises:
        pytest.UsageError: the marker is wrong.
    """
    marker = item.get_closest_marker(NAME)
    if marker is None or unsuitable(item) is not None:
        return None
    try:
        return Settings.checked(
            **_arguments(marker.args, marker.kwargs, defaults(item.config, item))
        )
    except SettingsError as error:
        raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.{NAME}: {error}") from None


def unsuitable(item: pytest.Item) -> str | None:
    """Why an item with the marker cannot be run over loops; None for one that can, or has none.

    That is no usage error: a marker on a whole module or class is on all that is in there.
    """
    if item.get_closest_marker(NAME) is None:
        return None
    if not isinstance(item, pytest.Function):
        reason = f"a {type(item).__name__}, and can only be on a test function"
    elif inspect.isgeneratorfunction(item.obj) or inspect.isasyncgenfunction(item.obj):
        reason = "a generator: a test has no yield"
    else:
        return None
    return f"@pytest.mark.{NAME} is on {reason}"


def is_a_case(item: pytest.Function) -> bool:
    """Whether a test is a method of a ``unittest.TestCase``."""
    unittest = sys.modules.get("unittest")
    return unittest is not None and item.cls is not None and issubclass(item.cls, unittest.TestCase)


def _arguments(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], base: dict[str, Any]
) -> dict[str, Any]:
    allowed = tuple(inspect.signature(Settings.checked).parameters)
    if len(args) > 1:
        raise SettingsError(f"takes one positional argument (loops), and was given {args!r}")
    if args and "loops" in kwargs:
        raise SettingsError(f"loops is given twice: {args[0]!r} and {kwargs['loops']!r}")
    for name, value in kwargs.items():
        if name not in allowed:
            raise SettingsError(
                f"{name}={value!r}: there is no argument {name!r}; there are {', '.join(allowed)}"
            )
    given = {**base, **kwargs}
    if args:
        given["loops"] = args[0]
    given["ignore"] = combined_ignores(base.get("ignore", ()), kwargs.get("ignore", ()))
    return given


def combined_ignores(base: Any, more: Any) -> tuple[Any, ...]:
    """The project's ignored rules and a test's own; anything odd is left for the check."""
    if isinstance(more, str):
        more = (more,)
    try:
        return (*base, *more)
    except TypeError:
        return (more,)
