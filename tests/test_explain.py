"""``python -m pytest_loopsafe explain``: a rule's page, without a network."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pytest_loopsafe.__main__ import main
from pytest_loopsafe._report import pages
from pytest_loopsafe._words.rules import codes

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("code", sorted(codes()))
def test_each_rule_has_its_page(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", code]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"# {code} ")
    assert "## Bad" in told
    assert "## Good" in told
    assert "](" not in told  # links of the documentation, which lead nowhere from here


def test_several_are_told_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "ls203", "LS101"]) == 0
    told = capsys.readouterr().out
    assert told.index("# LS203 ") < told.index("# LS101 ")


def test_an_unknown_one_is_named_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "LS101", "LS999"]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert told.err.startswith("'LS999' is no rule. There are LS101, ")


def test_where_the_pages_are_missing_that_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "_FOLDERS", (tmp_path,))
    assert main(["explain", "LS101"]) == 2
    assert "was not installed with this package" in capsys.readouterr().err


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="an installed copy")
def test_a_wheel_has_the_pages(tmp_path: Path) -> None:
    """Built as it is published, and read from there."""
    pytest.importorskip("hatchling")
    build = "import hatchling.build, sys; hatchling.build.build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", build, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    told = subprocess.run(
        [sys.executable, "-m", "pytest_loopsafe", "explain", "LS203"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert told.stdout.startswith("# LS203 rebind-race"), told.stderr
