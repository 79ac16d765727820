"""The pictures of the documentation: `make screenshots`.

What is on them was found: in three revisions of examples/roadmap, by real runs of pytest. For the
picture of a thousand findings these are repeated under other names.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "_static"
MOST = 150_000
"""Bytes of a picture: they are a part of the repository."""
WIDTH, HEIGHT = 1280, 800

sys.path.insert(0, str(ROOT / "tests"))
import browser  # noqa: E402

TEST = """
import pytest

@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("revision", {revisions})
def test_a_roadmap_is_made(revision, start_worker, loopsafe_runner):
    loopsafe_runner.run(start_worker(revision).generate_roadmap, "id", "asyncio")
"""
PARTS = ("billing", "catalogue", "chat", "courses", "mail", "search", "tutor", "users")


def main() -> int:
    if browser.executable() is None:
        print(browser.INSTALL)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        broken = found_in(place, ["before", "layer1", "layer2"])
        documents = {
            "0": found_in(place, ["safe"]),
            "5": found_in(place, ["before"]),
            "1000": repeated(broken, 1_000),
        }
        return take(place, documents)


def found_in(place: Path, revisions: list[str]) -> dict[str, Any]:
    """What is found in revisions of the example, as the JSON file has it."""
    project = place / "project"
    shutil.rmtree(project, ignore_errors=True)
    (project / "tests").mkdir(parents=True)
    shutil.copytree(ROOT / "examples" / "roadmap" / "roadmap", project / "roadmap")
    shutil.copy(ROOT / "examples" / "roadmap" / "conftest.py", project)
    (project / "pytest.ini").write_text("[pytest]\n")
    (project / "tests" / "test_roadmap.py").write_text(TEST.format(revisions=revisions))
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:langsmith_plugin"),
            *("-p", "no:randomly"),
            *("-p", "no:cacheprovider", f"--rootdir={project}", "--loopsafe-json=report.json"),
        ],
        cwd=project,
        capture_output=True,
        timeout=300,
    )
    document: dict[str, Any] = json.loads((project / "report.json").read_text("utf-8"))
    found = sum(len(test["findings"]) for test in document["tests"])
    print(f"{', '.join(revisions)}: {found} findings")
    return document


def repeated(document: dict[str, Any], number: int) -> dict[str, Any]:
    """The same tests again and again, each for another part of a larger application."""
    tests: list[dict[str, Any]] = []
    findings = 0
    while findings < number:
        for test in document["tests"]:
            turn = len(tests)
            part = PARTS[turn % len(PARTS)]
            text = json.dumps(test).replace("roadmap.revisions", f"{part}.revisions")
            again = json.loads(text.replace("test_a_roadmap_is_made", f"test_{part}_{turn}"))
            again["findings"] = again["findings"][: number - findings]
            kept = len(again["findings"])
            again["groups"] = [
                {**one, "findings": [at for at in one["findings"] if at < kept]}
                for one in again["groups"]
                if one["lead"] < kept
            ]
            findings += kept
            tests.append(again)
    return {**document, "tests": tests}


def take(place: Path, documents: dict[str, dict[str, Any]]) -> int:
    """Take each picture in both schemes; 1 if one is too large."""
    from PIL import Image  # of the dependency group `pictures`

    from pytest_loopsafe._report.page import page

    too_large = []
    PICTURES.mkdir(exist_ok=True)
    with browser.chromium() as started:
        tab = started.open(WIDTH, HEIGHT)
        for name, document in documents.items():
            file = place / f"{name}.html"
            file.write_text(page(document), encoding="utf-8")
            for scheme in ("light", "dark"):
                tab.prefer(scheme)
                tab.go(file)
                if name == "1000":
                    tab.click("#home")  # to the overview
                picture = PICTURES / f"picture-{name}-{scheme}.png"
                tab.screenshot(picture)
                Image.open(picture).convert("RGB").quantize(256).save(picture, optimize=True)
                print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size:,} bytes")
                if picture.stat().st_size > MOST:
                    too_large.append(picture.name)
    for one in too_large:
        print(f"{one}: more than {MOST:,} bytes")
    return 1 if too_large else 0


if __name__ == "__main__":
    sys.exit(main())
