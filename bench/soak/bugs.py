"""Faults of our own, and of what is exhausted: they cost what they touch, and nothing else."""

from __future__ import annotations

import functools

import projects
from processes import Ended, pytest_in
from rows import Row, Trial, codes_of

ERRORS = ("RuntimeError('a bug')", "RecursionError('too deep')", "MemoryError()", "KeyError(1)")

# Each breaks one thing of ours, at some call of it and at all that come after.
DETECTOR = """
    import sys
    import pytest_loopsafe._rules.{module} as module
    from pytest_loopsafe._rules import discover

    kind = [one for one in discover() if one.__module__ == module.__name__][-1]
    observe, calls = kind.observe, []


    def broken(self, sighting):
        calls.append(1)
        if len(calls) > {after}:
            print("BROKEN", file=sys.__stderr__)
            raise {error}
        return observe(self, sighting)


    kind.observe = broken
"""
_DETECTORS = ("ls107", "ls201", "ls203", "ls206", "ls302", "ls303")  # asked of each pass

PROBE = """
    from pytest_loopsafe._ledger.ledger import Ledger

    take, calls = Ledger.take, []


    def broken(self, sighting):
        calls.append(1)
        if len(calls) > {after}:
            raise {error}
        return take(self, sighting)


    Ledger.take = broken
"""

ADAPTER = """
    import pytest_loopsafe


    class Broken(pytest_loopsafe.Adapter):
        types = ("app.Client",)
        closers = ("aclose",)

        async def probe(self, resource):
            raise {error}

        def is_closed(self, resource):
            raise {error}


    def pytest_loopsafe_adapters(config):
        return [Broken()]
"""

WITH_CLIENT = """
    import asyncio
    import pytest
    import app


    @pytest.mark.multi_loop
    async def test_client():
        if app.client is None:
            app.client = app.Client()
            await app.client.use()
        await asyncio.sleep(0)


    @pytest.mark.multi_loop
    def test_now():
        app.publish_twice()


    @pytest.mark.multi_loop
    async def test_clean():
        await asyncio.sleep(0)
"""
CLIENT = """

    client = None


    class Client:
        async def use(self):
            self.future = asyncio.get_running_loop().create_future()

        async def aclose(self):
            pass
"""

RECURSION = """
    import asyncio
    import pytest
    import app


    def deep(left):
        asyncio.get_running_loop().call_soon(int)
        asyncio.get_running_loop().create_future()
        asyncio.Queue().put_nowait(1)
        asyncio.Lock().locked()
        if left % 10 == 0:
            asyncio.new_event_loop().close()
        return deep(left - 1) if left else 0


    @pytest.mark.multi_loop(4)
    async def test_deep():
        '''As a parser does with what nobody should have written.'''
        with pytest.raises(RecursionError):
            deep(100_000)
        await app.publish()


    @pytest.mark.multi_loop
    def test_endless():
        app.publish_twice()
        asyncio.run(endless())


    async def endless():
        await endless()


    @pytest.mark.multi_loop
    def test_now():
        app.publish_twice()


    @pytest.mark.multi_loop
    async def test_clean():
        await asyncio.sleep(0)
"""

DESCRIPTORS = """
    import asyncio, os, resource, socket
    import pytest
    import app

    kept = []


    def exhaust(left):
        used = max(map(int, os.listdir("/proc/self/fd"))) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, 4096))
        while True:
            try:
                kept.append(socket.socket())
            except OSError:
                break
        for one in kept[len(kept) - left :]:
            one.close()


    @pytest.mark.multi_loop
    def test_now():
        app.publish_twice()
        exhaust({left})
        asyncio.run(app.work(0.1))


    @pytest.mark.multi_loop(2, schedule="fork")
    def test_forked():
        asyncio.run(app.work(0))


    @pytest.mark.multi_loop
    def test_after():
        app.publish_twice()


    def test_end():
        if {frees}:
            for one in kept:
                one.close()
"""


def _run(trial: Trial, *arguments: str) -> tuple[Ended, dict[str, dict[str, object]]]:
    ended = pytest_in(trial.folder, *arguments, SOAK_FOLDER=str(trial.folder)).ended(60)
    return ended, trial.tests()


def _error(trial: Trial) -> str:
    return str(trial.random.choice(ERRORS))


def detector(trial: Trial) -> None:
    """Its rules are switched off for the test, which is said; all others judge on."""
    projects.plain(trial)
    module = trial.random.choice(_DETECTORS)
    error = _error(trial)
    text = DETECTOR.format(module=module, after=trial.random.randrange(2), error=error)
    trial.file("conftest.py", text)
    ended, tests = _run(trial)
    trial.ended_well(ended, 1)
    for name, code in (("test_before", "LS101"), ("test_now", "LS101"), ("test_after", "LS101")):
        trial.has(name, code, where=tests)
    trial.has("test_forked", "LS401", where=tests)
    outcomes = {one["outcome"] for one in tests.values()}
    trial.check(outcomes == {"failed"}, f"outcomes: {outcomes}")
    told = "detector for LS" in ended.text and error.partition("(")[0] in ended.text
    is_broken = "BROKEN" in ended.text
    trial.check(told == is_broken, f"{module} broke: {is_broken}, and it is said: {told}")
    trial.check(is_broken, f"{module} was never asked, so it did not break")


def probe(trial: Trial) -> None:
    """What is seen goes nowhere: the code under test runs on, and the report says so."""
    projects.plain(trial)
    trial.file("test_shop.py", WITH_CLIENT)
    trial.file("app.py", projects.APP + CLIENT)
    error = _error(trial)
    trial.file("conftest.py", PROBE.format(after=trial.random.randrange(60), error=error))
    ended, tests = _run(trial)
    trial.ended_well(ended, 0, 1)
    outcome = tests.get("test_clean", {}).get("outcome")
    trial.check(outcome == "passed", f"the code under test was harmed: test_clean {outcome}")
    trial.check(error.partition("(")[0] in ended.text, "that the watch failed is not said")


def adapter(trial: Trial) -> None:
    """A user's own adapter raises wherever it is asked."""
    projects.plain(trial)
    trial.file("test_shop.py", WITH_CLIENT)
    trial.file("app.py", projects.APP + CLIENT)
    trial.file("conftest.py", ADAPTER.format(error=_error(trial)))
    ended, tests = _run(trial)
    trial.ended_well(ended, 1)
    trial.has("test_now", "LS101", where=tests)
    outcome = tests.get("test_clean", {}).get("outcome")
    trial.check(outcome == "passed", f"test_clean {outcome}")
    trial.check("INTERNALERROR" not in ended.text, "pytest broke")


def recursion(trial: Trial) -> None:
    """Code that goes too deep gets its own RecursionError, and the rules judge on."""
    projects.plain(trial)
    trial.file("test_shop.py", RECURSION)
    limit = trial.random.randrange(150, 1200)
    code = f"import sys\nsys.setrecursionlimit({limit})\n"
    trial.file("app.py", code + projects.APP.replace("\n    ", "\n"))
    ended, tests = _run(trial)
    trial.ended_well(ended, 1)
    trial.has("test_now", "LS101", where=tests)
    trial.has("test_deep", "LS101", where=tests)
    trial.has("test_endless", "LS101", where=tests)
    outcome = tests.get("test_clean", {}).get("outcome")
    trial.check(outcome == "passed", f"test_clean {outcome}")
    is_off = "is switched off" in ended.text
    trial.check(not is_off, f"limit {limit}: a detector was switched off by the code's recursion")


def descriptors(frees: str, trial: Trial) -> None:
    """What the code takes is not there for us either: what was found is told all the same."""
    projects.plain(trial)
    left = trial.random.randrange(12)
    trial.file("test_shop.py", DESCRIPTORS.replace("{left}", str(left)).replace("{frees}", frees))
    trial.file("conftest.py", "import tracemalloc  # which pytest else imports when it is too late")
    ended, tests = _run(trial, "-o", "loopsafe_timeout=5")
    trial.ended_well(ended, 1)
    trial.check("LS101" in ended.text, "LS101 is not on the terminal")
    trial.check(tests or "not written" in ended.text, f"no file: {ended.text[-1500:]}")
    if tests:
        trial.has("test_now", "LS101", where=tests)
    trial.check("INTERNALERROR" not in ended.text, "pytest broke")
    is_clean = (
        not codes_of(tests, "test_forked") and tests.get("test_forked", {}).get("notes") == []
    )
    passed = tests.get("test_forked", {}).get("outcome") == "passed"
    trial.check(not passed or is_clean, "a forked pass that could not be watched passed")


ROWS = (
    Row(
        "a bug in a detector",
        "its rules are off, which is said; all else is found and told",
        (9, 1),
        detector,
    ),
    Row("a bug behind the probes", "the code runs on, and it is said", (4, 1), probe),
    Row("a bug in a user's adapter", "all else is found and told", (4, 1), adapter),
    Row("recursion of the code", "its own error; all rules judge on", (4, 1), recursion),
    Row(
        "descriptors exhausted",
        "what was found is told, in the file or why not",
        (4, 1),
        functools.partial(descriptors, "True"),
    ),
    Row(
        "descriptors exhausted for good",
        "what was found is told, in the file or why not",
        (4, 1),
        functools.partial(descriptors, "False"),
    ),
)
