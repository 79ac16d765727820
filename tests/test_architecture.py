"""Imports run one way: findings and rules at the bottom, pytest on top, asyncio's private parts in
one place."""

import ast
import re
from pathlib import Path

import private_names

PACKAGE = Path(__file__).parent.parent / "pytest_loopsafe"
FILES = sorted(PACKAGE.rglob("*.py"))
ON_TOP = ({"_plugin"}, {"plugin"})
BOTTOM_UP = (
    {"_bytecode", "_cpython", "recipes"},
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


def test_what_is_private_of_pytest_is_in_one_file() -> None:
    names = (
        "_initrequest",
        "_fixtureinfo",
        "_force_asyncio",
        "_loop_scope",
        "_instance",
        "_request",
    )
    found = {
        f"{path.relative_to(PACKAGE)}: {node.attr}"
        for path in FILES
        if room(path) in {"_plugin", "plugin"} and path.name != "pytest_inside.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in names
    }
    assert not found


NOT_ASYNCIOS = {
    "__init__.py": {"_run"},  # a room of this package
    "_adapters/kafka.py": {"_closed"},  # aiokafka's
    "_adapters/mongo.py": {"_closed"},  # PyMongo's
    "_adapters/postgres.py": {"_closed"},  # asyncpg's
    "_graph/bindings.py": {"_closed"},  # of libraries' clients
    "_graph/starters.py": {"_run"},  # a room of this package
    "_probes/records.py": {"_context"},  # structlog's
    "_workers/host.py": {"_local"},  # Celery's
}
"""Where a name that is private of asyncio is somebody else's too."""


def test_no_private_name_of_asyncio_is_used_outside_of_its_room() -> None:
    outside = {}
    for path in FILES:
        file = path.relative_to(PACKAGE).as_posix()
        if room(path) != "_cpython":
            outside |= {
                f"{file}:{line}": name
                for name, line in private_names.used_in(path)
                if name not in NOT_ASYNCIOS.get(file, set())
            }
    assert not outside


def test_a_private_name_is_found_however_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(EXAMPLE)
    marked = [n for n, line in enumerate(EXAMPLE.splitlines(), 1) if line.endswith("# private")]
    assert [line for _, line in private_names.used_in(file)] == marked


EXAMPLE = """
import asyncio, os

class Ours:
    def __init__(self, loop):
        self._loop = loop
        loop._ready.clear()  # private

    def method(self):
        return lambda other: self._loop is other._loop  # private

def build(original):
    def _check_closed(self):
        return self._closed  # private
    return _check_closed

def read(transport):
    "Never its _sock."
    os._exit(getattr(transport, "_sock"))  # private
    print(transport, "the _sock of it", f"{transport}._sock")  # private
    return "StreamReader._wait_for_data"  # private
"""


def test_only_the_clock_is_asked_for_the_time() -> None:
    asks = re.compile(r"\btime\.(monotonic|perf_counter)\(")
    assert [path.name for path in FILES if asks.search(path.read_text())] == ["clock.py"]


def test_no_file_is_one_to_be_afraid_of() -> None:
    assert not [path for path in FILES if len(path.read_text().splitlines()) > 380]
