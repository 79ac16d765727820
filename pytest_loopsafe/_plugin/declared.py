"""What pytest is told of the ``multi_loop`` marker and the ini options, in each session.

Apart from what reads them (`pytest_loopsafe._plugin.marker`), for most sessions need no more: the
settings alone are a third of what it costs to load the plugin.
"""

from __future__ import annotations

from typing import Any

import pytest

NAME = "multi_loop"

HELP = (
    f'{NAME}(loops=3, *, schedule="consecutive", concurrency=1, timeout=30.0, strict=False, '
    'ignore=(), loop_factory=None, fixtures="shared", ok_without_loops=False): run the test once '
    "in each of several event loops, and fail it when anything bound to one loop is used in "
    "another, even if the code swallows the error."
)

INI: tuple[tuple[str, str, str], ...] = (
    ("loops", "int", "how many loops a multi_loop test and loopsafe_runner.run() use (3)."),
    (
        "schedule",
        "string",
        "how these loops follow one another: consecutive, recycled, persistent, threads, "
        "concurrent, fork (consecutive).",
    ),
    ("timeout", "float", "seconds that one pass in one loop may take (30)."),
    ("strict", "bool", "count loopsafe's warnings as errors (false)."),
    (
        "ignore",
        "linelist",
        "rules to leave out, one a line: LS206, LS3, LS206:thirdparty.*, LS206@tests/legacy.",
    ),
)
OWN = (
    "loopsafe_own",
    "installed packages and paths that are your own code, one a line: shopapp, libs/*/src; "
    "!shopapp for what is not.",
)

KINDS = {
    "int": "a whole number",
    "float": "a number of seconds",
    "bool": "a bool (true or false)",
    "string": "text",
    "linelist": "rules, one a line",
}


def add_ini_options(parser: pytest.Parser) -> None:
    """Declare ``loopsafe_loops`` and the others."""
    numbers = pytest.version_tuple >= (8, 4)  # before that pytest knows no int and no float
    for name, kind, text in INI:
        known: Any = kind if numbers or kind not in ("int", "float") else "string"
        parser.addini(f"loopsafe_{name}", text, type=known, default=None)
    parser.addini(*OWN, type="linelist", default=None)


def are_set(config: pytest.Config) -> bool:
    """Whether the project has set any of them, if to something that is not allowed."""
    names = (*(f"loopsafe_{name}" for name, _, _ in INI), OWN[0])
    try:
        return any(config.getini(name) not in (None, "", []) for name in names)
    except (ValueError, TypeError, pytest.UsageError):  # of another type than is declared
        return True
