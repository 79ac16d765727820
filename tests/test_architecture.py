"""Imports run one way: findings and rules at the bottom, pytest on top, asyncio's private parts in
one place."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "pytest_loopsafe"
FILES = sorted(PACKAGE.rglob("*.py"))
ON_TOP = ({"_plugin"}, {"plugin"})
BOTTOM_UP = (
    {"_cpython", "recipes"},
    {"_words"},
    {"_adapters"},
    {"_graph", "_probes", "_spool"},
    {"_report"},
    {"_ledger"},
    {"_rules"},
    {"_watch"},
    {"_run"},
    {"_workers"},
    {"celery", "testing", "__main__"},
    *ON_TOP,
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


def of_this_package(path: Path) -> set[str]:
    """The rooms that a file imports from."""
    parts = [name.split(".") for name in imports(path)]
    return {part[1] for part in parts if part[0] == "pytest_loopsafe" and len(part) > 1} & set(
        LEVEL
    )


def test_every_room_has_its_place() -> None:
    assert {room(path) for path in FILES} - {"__init__"} == set(LEVEL)


def test_imports_go_down() -> None:
    upwards = [
        f"{path.relative_to(PACKAGE)} imports {other}"
        for path in FILES
        if (here := room(path)) != "__init__"
        for other in of_this_package(path)
        if other != here and LEVEL[other] >= LEVEL[here]
    ]
    assert not upwards


def test_only_the_top_knows_pytest() -> None:
    top = {name for names in ON_TOP for name in names}
    knows = {
        room(path) for path in FILES if any(n.partition(".")[0] == "pytest" for n in imports(path))
    }
    assert knows <= top
    assert not [path for path in FILES if any(n.startswith("_pytest") for n in imports(path))]


def test_what_is_private_of_asyncio_is_in_one_place() -> None:
    private = {"base_events", "events", "futures", "locks", "mixins", "tasks", "selector_events"}
    names = {f"asyncio.{name}" for name in private}
    assert {room(path) for path in FILES if names & imports(path)} == {"_cpython"}


def test_no_file_is_one_to_be_afraid_of() -> None:
    assert not [path for path in FILES if len(path.read_text().splitlines()) > 380]
