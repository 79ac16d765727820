"""All code of the documentation runs: each page's Python, in a folder of its own, under pytest.

- A block that begins with ``# test_x.py`` is that file; pytest runs the tests in it.
- Any other block is a piece of a file. It is run after the page's ``# given`` block, if there is
  one; both that and whole files may be hidden from the reader in an HTML comment.
- ``<!-- fails: LS101 -->`` before a block: each of its tests fails, and these are found.
- ``<!-- not run: needs a broker -->``: it is compiled only, and that is why.

Pages that need the same packages run in one process: no two files have the same name. The on the
rules' pages are `test_documentation`'s.
"""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(?:<!-- ([a-z ]+): ([^\n]*?) -->\n)?^```python\n(.*?)^```$", re.S | re.M)
FILE = re.compile(r"# ([\w/]+\.py)\n")
GIVEN = "# given\n"

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="an installed copy has none")


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Attributes:
        page: its page.
        file: the file that it is.
        code: all of it.
        fails: the codes that are found in each of its tests; empty where they pass.
        not_run: why it is not run.
    """

    page: str
    file: str
    code: str
    fails: frozenset[str] = frozenset()
    not_run: str = ""


def pages() -> dict[str, str]:
    """The text of each page by a name for its folder."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {
        path.stem.replace("-", "_").lower(): path.read_text(encoding="utf-8")
        for path in paths
        if path.is_file() and "rules" not in path.parts and "_build" not in path.parts
    }


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """The blocks of a page, as the files that they are."""
    found = BLOCK.findall(text)
    given = "".join(code for _, _, code in found if code.startswith(GIVEN))
    for number, (mark, said, code) in enumerate(found, start=1):
        if code.startswith(GIVEN):
            continue
        named = FILE.match(code)
        yield Block(
            page,
            named[1] if named else f"test_{page}_{number}.py",
            code if named else given + code,
            frozenset(said.split()) if mark == "fails" else frozenset(),
            said if mark == "not run" else "",
        )


def imports(block: Block) -> frozenset[str]:
    """The packages that a block imports, but for those that nearly all do."""
    found = set()
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    own = {one.file.removesuffix(".py").partition("/")[0] for one in BLOCKS}
    return frozenset(found - own - sys.stdlib_module_names - LIGHT)


def groups() -> dict[str, list[Block]]:
    """The blocks of pages that need the same packages, by these: a process has few of them.

    What a run costs grows with what there is in its process. One with all packages took longer than
    all of them together.
    """
    found: dict[str, list[Block]] = {}
    for page in dict.fromkeys(block.page for block in BLOCKS):
        members = [block for block in BLOCKS if block.page == page]
        needs = frozenset().union(*map(imports, members)) - {"nox"}
        found.setdefault(" ".join(sorted(needs)) or "none", []).extend(members)
    return found


LIGHT = {"pytest", "pytest_loopsafe", "redis", "hypothesis", "uvloop"}
BLOCKS = [block for page, text in pages().items() for block in blocks_of(page, text)]
GROUPS = groups()


@pytest.mark.parametrize("packages", GROUPS)
def test_it_does_what_the_page_says(
    packages: str, tmp_path: Path, aside: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    missing = [name for name in packages.split() if name != "none" and find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    cases = ended(GROUPS[packages], tmp_path, aside, request)
    for block in GROUPS[packages]:
        check(block, cases.get(f"{block.page}/{block.file}", []))


Cases = list[ET.Element]


def ended(
    blocks: list[Block], folder: Path, aside: tuple[str, ...], request: pytest.FixtureRequest
) -> dict[str, Cases]:
    """How the tests of each file ended; a file that could not be loaded is one that failed."""
    for block in blocks:
        path = folder / block.page / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        if not block.not_run:
            path.write_text(block.code, encoding="utf-8")
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = ignore::pytest.PytestUnraisableExceptionWarning\n"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    if any("DATABASE_URL" in block.code for block in blocks):
        url = request.getfixturevalue("postgres_url")
        environment["DATABASE_URL"] = url.replace("postgresql:", "postgresql+asyncpg:", 1)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *aside]
    command += ["--junitxml=ended.xml", "-o", "junit_family=xunit1", "--tb=short"]
    run = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )
    print(run.stdout, run.stderr)  # for whom it fails
    found: dict[str, Cases] = {}
    for case in ET.parse(folder / "ended.xml").iter("testcase"):
        file = case.get("file") or (case.get("name") or "").replace(".", "/") + ".py"
        found.setdefault(file, []).append(case)
    return found


def check(block: Block, cases: Cases) -> None:
    compile(block.code, block.file, "exec")
    if block.not_run:
        return
    assert cases or "def test_" not in block.code, f"{block.file}: no test was run"
    for case in cases:
        wrong = [*case.iter("failure"), *case.iter("error")]
        where = f"{block.file}::{case.get('name')}"
        if not block.fails:
            assert not wrong, f"{where} fails: {wrong[0].get('message')}\n{wrong[0].text}"
            continue
        assert wrong, f"{where} passes"
        told = {one.get("value", "").partition(" ")[0] for one in case.iter("property")}
        assert block.fails <= told, where


def test_no_two_files_have_the_same_name() -> None:
    named = Counter(block.file for block in BLOCKS if Path(block.file).name != "conftest.py")
    assert not [name for name, times in named.items() if times > 1]


def test_a_mark_is_one_that_is_known() -> None:
    marks = {found[0] for text in pages().values() for found in BLOCK.findall(text)}
    assert marks == {"", "fails", "not run"}
