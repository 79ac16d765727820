"""Imports run one way: findings and rules at the bottom, pytest on top, asyncio's private parts in
one place."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pytest_loopsafe"
FILES = sorted(PACKAGE.rglob("*.py"))
ON_TOP = {"plugin", "session", "marker", "fixture", "terminal", "newhooks", "celery_fixture"}
BOTTOM_UP = (
    {"rules", "cpython", "stacks", "loops", "heap", "recipes", "appending"},
    {"findings", "settings", "links", "adapters"},
    {"finding_log", "owners", "bindings", "notes", "swallowing", "instrumentation", "wire"},
    {
        "heap_view",
        "scheduling",
        "loop_births",
        "loop_lives",
        "connections",
        "resource_lives",
        "logs",
    },
    {"spool"},
    {"spool_reader"},
    {"primitive_use"},
    {"detectors"},
    {"canary", "forked_children"},
    {"watching", "report", "addresses", "redis_server", "watchdog"},
    {"schedules", "rendering", "recording", "parcels"},
    {"forking"},
    {"runner", "workers"},
    {"api", "rebinding", "celery", "__main__"},
    ON_TOP,
)
LEVEL = {name: level for level, names in enumerate(BOTTOM_UP) for name in names}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The modules that a file imports when it is loaded, by full name."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", [path for path in FILES if room(path) != "__init__"], ids=room)
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "pytest_loopsafe" and len(parts) > 1 and parts[1] in LEVEL:
            assert LEVEL[parts[1]] <= LEVEL[here], f"{here} imports {parts[1]}"


@pytest.mark.parametrize("path", FILES, ids=room)
def test_only_the_top_knows_pytest(path: Path) -> None:
    if room(path) not in ON_TOP:
        assert not any(name.partition(".")[0] == "pytest" for name in imports(path))
    assert not any(name.startswith("_pytest") for name in imports(path))


@pytest.mark.parametrize("path", FILES, ids=room)
def test_what_is_private_of_asyncio_is_in_one_place(path: Path) -> None:
    if room(path) == "cpython":
        return
    private = {"base_events", "events", "futures", "locks", "mixins", "tasks", "selector_events"}
    assert not {f"asyncio.{name}" for name in private} & imports(path)


@pytest.mark.parametrize("path", FILES, ids=room)
def test_no_file_is_one_to_be_afraid_of(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 380
