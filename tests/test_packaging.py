"""What is published has what it needs, and says no more of itself than was tried."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pytest_loopsafe._words.rules import DOCS_URL

ROOT = Path(__file__).parent.parent
FILE = ROOT / "pyproject.toml"

pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="an installed copy has no project")


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text())


def test_an_sdist_has_what_its_makefile_runs(settings: dict[str, Any]) -> None:
    used = set(re.findall(r"(?<![\w./])(bench|docs|examples|tests)\b", makefile()))
    assert used == {"bench", "docs", "examples", "tests"}
    included = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {f"/{one}" for one in (*used, "Makefile", "pytest_loopsafe")} <= set(included)


def test_what_is_included_is_there(settings: dict[str, Any]) -> None:
    included = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert not [one for one in included if not (ROOT / one.lstrip("/")).exists()]


def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def test_the_interpreters_that_it_names_are_those_that_ci_runs(settings: dict[str, Any]) -> None:
    script = ROOT / ".ci" / "run"
    if not script.is_file():
        pytest.skip("an sdist has no .ci")
    named = {
        found[1]
        for one in settings["project"]["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", one))
    }
    run = set(re.findall(r"\bpython(3\.\d+)\b", script.read_text()))
    assert named
    assert named <= run
    oldest = min(named, key=lambda one: int(one.partition(".")[2]))
    assert settings["project"]["requires-python"] == f">={oldest}"


def test_the_systems_that_it_names_are_those_that_it_was_tried_on(
    settings: dict[str, Any],
) -> None:
    lines = (ROOT / "docs" / "reference" / "platforms.md").read_text().splitlines()
    heads, tried = (
        [cell.strip() for cell in line.split("|")[2:-1]]
        for line in lines
        if line.startswith(("| | ", "| tried "))
    )
    named = {
        one.rpartition(" :: ")[2]
        for one in settings["project"]["classifiers"]
        if one.startswith("Operating System ::")
    }
    assert named == {head for head, said in zip(heads, tried, strict=True) if said == "yes"}


def test_a_finding_points_into_the_documentation_that_the_project_names(
    settings: dict[str, Any],
) -> None:
    assert DOCS_URL.startswith(settings["project"]["urls"]["Documentation"])
