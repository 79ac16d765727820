"""Reading and loading the corpus's files: what is wrong with one is said clearly."""

import asyncio
import inspect
import sys
from pathlib import Path

import cases
import pytest

GOOD = '''\
"""A counter is shared.

More about it.
"""

SOURCE = "https://github.com/owner/repo/issues/1"
FINDS = ("LS101", "LS202")
SERVERS = ("nats",)
RUN = {"loops": 2, "concurrency": 3}

count = 0


async def broken(nats_url, seen=[]):
    global count
    count += 1
    seen.append(nats_url)
    return count, seen


def fixed():
    return "fixed"
'''


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared_counter.py"


def read(path: Path, text: str) -> cases.Case:
    path.write_text(text)
    return cases.read(path)


def test_what_a_file_says_of_itself(path: Path) -> None:
    case = read(path, GOOD)

    assert case.slug == "shared_counter"
    assert case.summary == "A counter is shared."
    assert case.source == "https://github.com/owner/repo/issues/1"
    assert case.finds == ("LS101", "LS202")
    assert case.servers == ("nats",)
    assert case.run == {"loops": 2, "concurrency": 3}
    assert case.parameters == {"broken": ("nats_url",), "fixed": ()}


def test_a_twin_is_fresh_each_time_and_remains_async(path: Path) -> None:
    case = read(path, GOOD)
    urls = {"nats": "nats://here"}

    for _ in range(2):
        with cases.fresh_twin(case, "broken", urls) as twin:
            assert inspect.iscoroutinefunction(twin)
            assert asyncio.run(twin()) == (1, ["nats://here"])
            assert asyncio.run(twin()) == (2, ["nats://here", "nats://here"])
    with cases.fresh_twin(case, "fixed", urls) as twin:
        assert twin() == "fixed"


def test_a_module_is_registered_while_it_is_used_and_no_longer(path: Path) -> None:
    case = read(path, GOOD)

    with cases.loaded(case) as module:
        assert sys.modules[module.__name__] is module
    assert module.__name__ not in sys.modules


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("SOURCE = ", "SOURCES = ", "SOURCE is missing"),
        ("https:", "http:", "SOURCE has to be an https URL"),
        ('"LS202"', '"LS2"', "FINDS: 'LS2' is no rule's code"),
        ('("LS101", "LS202")', '"LS101"', "FINDS has to be a tuple"),
        ('("LS101", "LS202")', "()", "FINDS is empty"),
        ('("LS101", "LS202")', "tuple(range(3))", "FINDS has to be a literal"),
        ('("nats",)', '("kafka",)', "SERVERS: unknown 'kafka'; known: redis, postgres, nats"),
        ('("nats",)', '("nats", "redis")', "SERVERS: neither twin takes redis_url"),
        ('SERVERS = ("nats",)', "", r"broken\(\) without such a server in SERVERS: unknown"),
        ('"loops"', '"loop"', "RUN: unknown 'loop'; known: loops, schedule"),
        ("def fixed", "def fix", r"there is no function fixed\(\)"),
        (GOOD.partition("SOURCE")[0], "", "the first line is the summary"),
        ("count = 0", "count =", "invalid syntax"),
    ],
)
def test_what_is_wrong_is_said(path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(cases.CaseError, match=f"shared_counter.py: .*{message}"):
        read(path, GOOD.replace(old, new))


def test_a_name_that_cannot_be_a_slug(tmp_path: Path) -> None:
    with pytest.raises(cases.CaseError, match="lower_snake_case"):
        read(tmp_path / "Shared-Counter.py", GOOD)
