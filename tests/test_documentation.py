"""The documentation is true: each rule has a page, and its examples show what they say."""

import asyncio
import re
from pathlib import Path

import pytest

import pytest_loopsafe
from pytest_loopsafe import _rules as detectors

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "reference" / "rules"
RULES = {rule.code: rule for rule in detectors.rules()}
BLOCK = re.compile(r"```python\n# (bad|good)\n(.*?)```", re.DOTALL)

pytestmark = pytest.mark.skipif(not PAGES.is_dir(), reason="an installed copy has no docs")


def examples(code: str) -> dict[str, str]:
    return dict(BLOCK.findall((PAGES / f"{code}.md").read_text()))


def found(source: str, name: str) -> list[str]:
    names: dict[str, object] = {}
    exec(compile(source, name, "exec"), names)
    try:
        report = pytest_loopsafe.run(
            names["main"], loops=3, check=False, timeout=names.get("timeout", 10)
        )
    finally:
        # A loop that is left to the collector with its globals may find that its sockets went
        # before it, and complain in whichever test runs by then.
        for value in names.values():
            if isinstance(value, asyncio.AbstractEventLoop):
                value.close()
    return [finding.code for finding in report.findings]


@pytest.mark.parametrize("code", RULES)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # nothing is right
def test_the_bad_example_is_found(code: str) -> None:
    assert code in found(examples(code)["bad"], f"{code}-bad.py")


@pytest.mark.parametrize("code", RULES)
def test_the_good_example_is_not(code: str) -> None:
    assert found(examples(code)["good"], f"{code}-good.py") == []


@pytest.mark.parametrize("place", ["README.md", "CHANGELOG.md", "docs/reference/rules/index.md"])
def test_each_rule_is_named_with_its_slug(place: str) -> None:
    text = (ROOT / place).read_text()
    assert not [code for code, rule in RULES.items() if code not in text or rule.slug not in text]


def test_each_page_has_the_rules_own_words() -> None:
    for code, rule in RULES.items():
        text = (PAGES / f"{code}.md").read_text()
        assert text.startswith(f"# {code} {rule.slug}\n")
        assert re.search(rf"By default: {rule.severity}[.;]", text)
        assert rule.url.endswith(f"/reference/rules/{code}.html")


def test_no_page_is_for_a_rule_that_is_not() -> None:
    assert {page.stem for page in PAGES.glob("LS*.md")} == set(RULES)
