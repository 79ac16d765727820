"""What an adapter advises is a remedy: the broken twin is told to do it, and who does it is silent.

Each file of `tests/remedies/` has the one and the other, with the real library. It holds the very
code that the remedy quotes.
"""

import gc
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import stand_ins

import pytest_loopsafe
from pytest_loopsafe._adapters import built_in
from pytest_loopsafe._report.groups import groups_of

FOLDER = Path(__file__).with_name("remedies")
PATHS = sorted(FOLDER.glob("*.py"))
ADAPTERS = {type(one).__name__: one for one in built_in() if one.remedy}

UNTRIED = {
    "PikaConnection": "there is no RabbitMQ in a wheel",
}

each_file = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@pytest.fixture
def url(path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Of the server that the file names, real or a stand-in."""
    named = re.search(r'^SERVER = "(\w+)"$', path.read_text(), re.MULTILINE)
    if named is None:
        yield ""
    elif (serve := getattr(stand_ins, f"{named[1]}_server", None)) is not None:
        with ExitStack() as stack:
            try:
                url = stack.enter_context(serve())
            except ModuleNotFoundError as missing:
                pytest.skip(str(missing))
            yield url
    else:
        yield request.getfixturevalue(f"{named[1]}_url")


@contextmanager
def loaded(path: Path, url: str) -> Iterator[ModuleType]:
    """A module that nobody has used yet, and that is gone afterwards."""
    spec = importlib.util.spec_from_file_location(f"remedy_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        try:
            spec.loader.exec_module(module)
        except ModuleNotFoundError as missing:
            pytest.skip(str(missing))
        module.URL = url  # type: ignore[attr-defined]
        yield module
    finally:
        getattr(module, "clean_up", lambda: None)()
        del sys.modules[spec.name]


def found_in(function: Callable[[], Any]) -> pytest_loopsafe.LoopReport:
    return pytest_loopsafe.run(function, loops=3, timeout=5, check=False)


@each_file
@pytest.mark.filterwarnings("ignore")  # a broken twin leaves things open: that is what it is for
def test_the_broken_twin_is_told_the_remedy(path: Path, url: str) -> None:
    """It fails: by an error that is found, or by one of the library's own."""
    with loaded(path, url) as module:
        report = found_in(module.broken)
        groups = groups_of(report.findings)

    remedy = ADAPTERS[module.ADAPTER].remedy
    assert [group for group in groups if group.remedy.endswith(remedy)], str(report)
    # No other is told of an error: where there is one thing to do, it is said alone.
    assert not [one for one in groups if one.lead.is_error and not one.remedy.endswith(remedy)]
    assert len([group for group in groups if group.lead.is_error]) <= 1, str(report)
    failed = [one.error for one in report.passes if one.error is not None]
    assert failed or [group for group in groups if group.lead.is_error], str(report)


@each_file
def test_who_does_it_is_silent(path: Path, url: str) -> None:
    with loaded(path, url) as module:
        ways = [value for name, value in vars(module).items() if name.startswith("remedied")]
        assert ways
        for way in ways:
            report = found_in(way)
            assert not report.findings, str(report)
            assert not [one.error for one in report.passes if one.error is not None]
    del report, way, ways, module
    gc.collect()  # what was left open, if anything, is warned of here, and fails this test


@each_file
def test_it_is_what_the_remedy_quotes(path: Path) -> None:
    """Each piece of code in the text is in the file; ``...`` stands for anything."""
    source = path.read_text()
    adapter = re.search(r'^ADAPTER = "(\w+)"$', source, re.MULTILINE)
    assert adapter is not None
    for quoted in re.findall(r"`([^`]+)`", ADAPTERS[adapter[1]].remedy):
        pattern = ".*".join(re.escape(piece) for piece in quoted.split("..."))
        assert re.search(pattern, source), quoted


def test_each_remedy_is_tried() -> None:
    tried = {re.search(r'ADAPTER = "(\w+)"', path.read_text())[1] for path in PATHS}  # type: ignore[index]
    assert tried | UNTRIED.keys() == ADAPTERS.keys()
    assert not tried & UNTRIED.keys()
