"""Correct code that merely looks suspicious: nothing at all is found in it, under any schedule.

Each file of `tests/suspicious` is one shape; its `main` is async, or a plain function that makes
its loops itself. ALONE says that two calls of it at once would be a fault of its own, and
NOT_IN_LOOPS_AT_ONCE that only two in different loops would be, and why.
"""

import asyncio
import gc
import importlib.util
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pytest_loopsafe

SHAPES = sorted((Path(__file__).parent / "suspicious").glob("*.py"))
RUNS: list[dict[str, Any]] = [
    {"loops": 2},
    {"loops": 4, "concurrency": 4},
    {"loops": 3, "schedule": "recycled"},
    {"loops": 3, "schedule": "persistent"},
    {"loops": 3, "schedule": "threads"},
    {"loops": 3, "schedule": "concurrent"},
]
_count = itertools.count()


@pytest.fixture
def main(path: Path) -> Iterator[Callable[[], Any]]:
    """The shape's function, of a module that nobody has used yet."""
    name = f"suspicious_{path.stem}_{next(_count)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module.main
    del sys.modules[name]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join(map(str, run.values())))
@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_nothing_is_found(main: Callable[[], Any], path: Path, run: dict[str, Any]) -> None:
    functions = [main]
    if run.get("schedule") == "concurrent":
        for name in ("ALONE", "NOT_IN_LOOPS_AT_ONCE"):
            if name in main.__globals__:
                pytest.skip(f"{name}: {main.__globals__[name]}")
    if not inspect.iscoroutinefunction(main) or "ALONE" in main.__globals__:
        run = {name: value for name, value in run.items() if name != "concurrency"}
    elif "concurrency" not in run:
        functions.append(lambda: asyncio.run(main()))
    for function in functions:
        report = pytest_loopsafe.run(function, check=False, **run)
        assert [(one.code, one.message, one.owner) for one in report.findings] == []
        assert [one.error for one in report.passes if one.error is not None] == []
        assert not [note for note in report.notes if "failed" in note]
    del report, function, functions
    gc.collect()


def test_what_one_test_leaves_is_not_charged_to_the_next() -> None:
    """An address is used again and again: an earlier test's note of it says nothing of this one."""
    notes["home"] = None
    for schedule in ("recycled", "consecutive") * 5:
        pytest_loopsafe.run(remember, schedule=schedule)
        report = pytest_loopsafe.run(forget_it, loops=4, schedule=schedule)
        assert [finding.message for finding in report.findings] == []


notes: dict[str, Any] = {}


async def remember() -> bool:
    number = id(asyncio.get_running_loop())
    is_new = notes.get("home") != number
    notes["home"] = int(str(number))  # written anew each time
    return is_new


async def forget_it() -> None:
    await asyncio.sleep(0)
