"""The corpus: what is broken in a public bug report is found, and its right fix is left alone."""

import gc
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import cases
import pytest
from cases import Case

import pytest_loopsafe
from pytest_loopsafe import _rules as detectors

PATHS = cases.paths()
each_case = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@pytest.fixture
def case(path: Path) -> Case:
    return cases.read(path)


@pytest.fixture
def urls(case: Case, request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Of the servers that the case needs; others are not even started."""
    return {server: request.getfixturevalue(f"{server}_url") for server in case.servers}


@each_case
@pytest.mark.filterwarnings("ignore")  # a broken twin leaves things open: that is what it is for
def test_the_broken_twin_is_found(case: Case, urls: Mapping[str, str]) -> None:
    with cases.fresh_twin(case, "broken", urls) as twin:
        report = pytest_loopsafe.run(twin, check=False, **case.run)

    missed = set(case.finds) - {finding.code for finding in report.findings}
    assert not missed, f"not found: {', '.join(sorted(missed))}; {report.results}\n{report}"


@each_case
def test_the_fixed_twin_is_not(case: Case, urls: Mapping[str, str]) -> None:
    with cases.fresh_twin(case, "fixed", urls) as twin:
        report = pytest_loopsafe.run(twin, check=False, **case.run)

    assert not report.findings, str(report)
    assert not [one.error for one in report.passes if one.error is not None]
    del report, twin
    gc.collect()  # what it left open, if anything, is warned of here, and fails this test


@each_case
def test_the_rules_that_it_names_exist(case: Case) -> None:
    assert set(case.finds) <= {rule.code for rule in detectors.rules()}


def test_it_is_large_enough_to_mean_something() -> None:
    assert len(PATHS) >= 30


def test_each_report_is_named_once() -> None:
    """A report may have several mechanisms; each is a file with a name that says which."""
    named = Counter((case.source, case.slug) for case in map(cases.read, PATHS))
    assert not [name for name, times in named.items() if times > 1]
