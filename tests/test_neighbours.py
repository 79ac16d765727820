"""Beside other plugins, in either order: as without them, safe tests pass and broken ones fail.

What ``safe`` does is right. ``leaky`` uses a queue of an earlier run's loop where it is run again,
``broken`` another loop's future within one run; both hide the error. By a test's name it is known
what becomes of it. hypothesis is in ``test_kinds_of_tests``, pytest-asyncio and anyio are also in
``test_beside_other_plugins``.
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

import pytest


@pytest.fixture
def with_anyio() -> bool:
    return True


ACTS = """
    import asyncio

    queues = {}

    async def safe(key=None):
        await asyncio.sleep(0)

    async def leaky(key=None):
        queue = queues.setdefault(key, asyncio.Queue())
        try:
            await asyncio.wait_for(queue.get(), 0.001)
        except (TimeoutError, RuntimeError):
            pass

    async def wait_for(future):
        try:
            await future
        except RuntimeError:
            pass

    async def broken(key=None):
        future = asyncio.get_running_loop().create_future()
        await asyncio.to_thread(lambda: asyncio.run(wait_for(future)))
"""

HEAD = """
    import asyncio
    import pytest
    from acts import broken, leaky, safe

    marked = pytest.mark.multi_loop
"""

PLAIN = """
    @marked
    async def test_marked_safe():
        await safe()

    @marked
    async def test_marked_leaky():
        await leaky("marked")

    @marked
    def test_marked_sync_safe():
        asyncio.run(safe())

    @marked
    def test_marked_sync_leaky():
        asyncio.run(leaky("marked sync"))

    def test_marked_by_fixture_leaky(loopsafe_runner):
        loopsafe_runner.run(leaky, "runner")

    def test_safe():
        asyncio.run(safe())

    def test_broken():
        asyncio.run(broken())
"""

LEAKY = """
    def test_leaky():
        asyncio.run(leaky("plain"))
"""

PYTEST_ASYNCIO = """
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def loop():
        return asyncio.get_running_loop()

    @marked
    @pytest.mark.asyncio
    async def test_marked_with_fixture_safe(loop):
        assert loop is asyncio.get_running_loop()

    @pytest.mark.asyncio
    async def test_async_safe(loop):
        assert loop is asyncio.get_running_loop()

    @pytest.mark.asyncio
    async def test_async_leaky():
        await leaky("async")

    @pytest.mark.asyncio
    async def test_async_broken():
        await broken()

    @pytest.mark.asyncio(loop_scope="module")
    class TestOneLoop:
        loops = []

        async def test_first_safe(self):
            self.loops.append(asyncio.get_running_loop())

        @marked
        async def test_marked_between_safe(self):
            assert asyncio.get_running_loop() not in self.loops

        async def test_second_safe(self):
            assert asyncio.get_running_loop() is self.loops[0]
"""

ANYIO = """
    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    @pytest.fixture
    async def loop():
        return asyncio.get_running_loop()

    @marked
    @pytest.mark.anyio
    async def test_marked_with_fixture_safe(loop):
        assert loop is asyncio.get_running_loop()

    @pytest.mark.anyio
    async def test_async_safe(loop):
        assert loop is asyncio.get_running_loop()

    @pytest.mark.anyio
    async def test_async_leaky():
        await leaky("async")

    @pytest.mark.anyio
    async def test_async_broken():
        await broken()
"""

AIOHTTP = """
    import pytest_asyncio
    from aiohttp import web

    @pytest_asyncio.fixture
    async def client(aiohttp_client, request):
        async def answer(of):
            name = request.node.name
            await (leaky if name.endswith("leaky") else broken if "broken" in name else safe)(name)
            return web.Response(text="hello")

        application = web.Application()
        application.router.add_get("/", answer)
        return await aiohttp_client(application)

    async def visit(client):
        async with client.get("/") as answer:
            assert await answer.text() == "hello"

    @marked
    async def test_marked_safe(client):
        await visit(client)

    @marked
    async def test_marked_leaky(client):
        await visit(client)

    @pytest.mark.asyncio
    async def test_safe(client):
        await visit(client)

    @pytest.mark.asyncio
    async def test_leaky(client):
        await visit(client)

    @pytest.mark.asyncio
    async def test_broken(client):
        await visit(client)
"""

ASGIREF = """
    from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async

    @marked
    def test_marked_safe():
        async_to_sync(safe)()

    @marked
    def test_marked_leaky():
        async_to_sync(leaky)("sync")

    @marked
    async def test_marked_there_and_back_safe():
        await sync_to_async(async_to_sync(safe))()
        await sync_to_async(async_to_sync(safe), thread_sensitive=False)()
        async with ThreadSensitiveContext():
            await sync_to_async(async_to_sync(safe))()

    @marked
    async def test_marked_there_and_back_leaky():
        await sync_to_async(async_to_sync(leaky))("there and back")

    def test_safe():
        async_to_sync(safe)()

    def test_leaky():
        async_to_sync(leaky)("plain")

    def test_broken():
        async_to_sync(broken)()
"""

DJANGO = """
    import django.test
    from shop.models import Order

    @pytest.fixture
    def order(db):
        return Order.objects.create(number=1)

    @pytest.fixture
    def no_name_for_the_database():
        return Order.objects.create(number=2)

    @marked
    def test_marked_safe(order):
        assert Order.objects.get() == order
        asyncio.run(safe())

    @marked
    @pytest.mark.django_db
    def test_marked_leaky(no_name_for_the_database):
        Order.objects.create(number=1)
        asyncio.run(leaky("db"))
        assert Order.objects.count() == 2

    @marked(schedule="threads")
    def test_marked_in_threads_safe(db):
        Order.objects.create(number=1)
        asyncio.run(safe())

    @marked
    async def test_marked_async_safe(transactional_db):
        await Order.objects.acreate(number=1)
        assert await Order.objects.acount() == 1

    @marked
    @pytest.mark.django_db(transaction=True)
    async def test_marked_async_leaky():
        await Order.objects.acreate(number=1)
        assert await Order.objects.acount() == 1
        await leaky("transaction")

    @marked(schedule="concurrent")
    def test_marked_all_at_one_time_safe(transactional_db):
        asyncio.run(safe())

    made = []

    @pytest.fixture
    def counted():
        made.append(1)

    @marked
    async def test_marked_without_a_database_safe(rf, counted):
        assert len(made) == 1

    class TestCase(django.test.TestCase):
        @classmethod
        def setUpTestData(cls):
            Order.objects.create(number=1)

        def act(self, function):
            Order.objects.create(number=2)
            assert Order.objects.count() == 2
            asyncio.run(function("case"))

        def test_case_safe(self):
            self.act(safe)

        def test_case_leaky(self):
            self.act(leaky)

        def test_case_broken(self):
            self.act(broken)

        @marked
        def test_marked_case_safe(self):
            self.act(safe)

        @marked
        def test_marked_case_leaky(self):
            self.act(leaky)

    @pytest.mark.django_db
    def test_leaky():
        Order.objects.create(number=1)
        asyncio.run(leaky("plain"))

    @pytest.mark.django_db
    def test_nothing_is_left_safe():
        assert not Order.objects.exists()
"""

BENCHMARK = """
    def rounds(benchmark, act):
        benchmark.pedantic(lambda: asyncio.run(act()), rounds=2)

    @marked
    def test_marked_safe(benchmark):
        rounds(benchmark, safe)

    @marked(fixtures="fresh")
    def test_marked_leaky(benchmark):
        rounds(benchmark, leaky)

    @marked
    async def test_marked_async_leaky(benchmark):
        benchmark.pedantic(int, rounds=2)
        await leaky("async")

    def test_safe(benchmark):
        rounds(benchmark, safe)

    def test_broken(benchmark):
        rounds(benchmark, broken)

    class TestAnother:
        made = []

        @pytest.fixture
        def benchmark(self):
            self.made.append(1)

        @marked
        async def test_marked_of_that_name_safe(self, benchmark):
            assert len(self.made) == 1
"""

SOCKET = """
    @marked
    @pytest.mark.allow_hosts(["127.0.0.1"])
    async def test_marked_with_a_server_safe():
        async def closes(reader, writer):
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(closes, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert not await reader.read()
            writer.close()
            await writer.wait_closed()
"""

FREEZEGUN = """
    from datetime import date
    from freezegun import freeze_time

    frozen = freeze_time("2020-02-02")
    futures = {}

    async def kept(key):
        assert date.today().year == 2020
        if key not in futures:
            futures[key] = asyncio.get_running_loop().create_future()
        else:
            await wait_for(futures.pop(key))

    async def wait_for(future):
        try:
            await future
        except RuntimeError:
            pass

    @marked
    @frozen
    async def test_marked_safe():
        await safe()

    @frozen
    @marked
    async def test_marked_leaky():
        await kept("marked")

    @pytest.fixture
    def clock():
        with freeze_time("2020-02-02") as clock:
            yield clock

    @marked
    async def test_marked_with_fixture_safe(clock):
        await safe()
        clock.tick()

    @marked
    def test_marked_with_fixture_leaky(clock):
        asyncio.run(kept("fixture"))

    @marked(timeout=0.3)
    @frozen
    async def test_marked_that_never_ends_leaky():
        await asyncio.sleep(1)

    @frozen
    def test_safe():
        asyncio.run(safe())

    @frozen
    def test_leaky():
        asyncio.run(kept("plain"))

    @frozen
    def test_broken():
        asyncio.run(broken())
"""


CODES = {"leaky": "LS102", "broken": "LS101"}


@dataclass(frozen=True)
class Neighbour:
    """A plugin or a library that tests use, and a suite that uses it.

    Attributes:
        module: what is installed with it.
        plugins: by which names pytest loads it.
        tests: the suite.
        options: for pytest.
        beside: whether to run it in a process of its own: it changes more than it gives back, or
            reads all modules that there are.
        codes: what is found in each kind of broken test.
    """

    module: str
    plugins: tuple[str, ...]
    tests: str = PLAIN + LEAKY
    options: tuple[str, ...] = ()
    beside: bool = False
    codes: Mapping[str, str] = field(default_factory=CODES.copy)


ASYNCIO = ("-o", "asyncio_default_fixture_loop_scope=function")  # else some versions warn

NEIGHBOURS = {
    "pytest-asyncio": Neighbour("pytest_asyncio", ("asyncio",), PLAIN + PYTEST_ASYNCIO, ASYNCIO),
    "anyio": Neighbour("anyio", ("anyio",), PLAIN + ANYIO),
    "pytest-aiohttp": Neighbour("pytest_aiohttp", ("asyncio", "aiohttp"), AIOHTTP, ASYNCIO),
    "pytest-django": Neighbour(
        "pytest_django", ("django",), DJANGO, ("--ds=shop.settings",), beside=True
    ),
    "asgiref": Neighbour("asgiref", (), ASGIREF),
    "pytest-timeout": Neighbour("pytest_timeout", ("timeout",), options=("--timeout=60",)),
    "pytest-randomly": Neighbour("pytest_randomly", ("randomly",)),
    "pytest-benchmark": Neighbour("pytest_benchmark", ("benchmark",), BENCHMARK),
    "pytest-socket": Neighbour(
        "pytest_socket",
        ("socket",),
        PLAIN + LEAKY + SOCKET,
        ("--disable-socket", "--allow-unix-socket"),
    ),
    "freezegun": Neighbour(
        "freezegun", (), FREEZEGUN, beside=True, codes=CODES | {"leaky": "LS101"}
    ),
    "pytest-rerunfailures": Neighbour(
        "pytest_rerunfailures", ("rerunfailures",), options=("--reruns=1",)
    ),
    "pytest-repeat": Neighbour("pytest_repeat", ("repeat",), PLAIN, ("--count=2",)),
}

WAYS = {"marker": (), "audit": ("--loopsafe",), "over loops": ("--loopsafe-loops=3",)}


@pytest.fixture
def shop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A pytester with the module ``acts`` and an application for Django; no plugin but by name."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    package = pytester.mkpydir("shop")
    package.joinpath("settings.py").write_text(
        "INSTALLED_APPS = ['shop']\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}\n"
        "DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\n"
    )
    package.joinpath("models.py").write_text(
        "from django.db import models\n\n"
        "class Order(models.Model):\n    number = models.IntegerField(unique=True)\n"
    )
    pytester.makepyfile(acts=ACTS)
    return pytester


def verdicts(shop: pytest.Pytester) -> dict[str, str]:
    """By a test's name the code that it failed for, what else it failed with, or ``passed``."""
    found = {}
    for case in ET.parse(shop.path / "verdicts.xml").iter("testcase"):
        failure = next((part for part in case if part.tag in ("failure", "error")), None)
        told = "passed" if failure is None else failure.get("message", "")
        found[str(case.get("name"))] = re.sub(r"^(LS\d+) .*", r"\1", told)
    return found


def expected(name: str, way: str, codes: Mapping[str, str] = CODES) -> str:
    """What is to become of a test."""
    name = name.partition("[")[0]
    act = name.rpartition("_")[2]
    found = {"leaky": way == "over loops" or "_marked_" in name, "broken": way != "marker"}
    if not found.get(act):
        return "passed"
    return codes[act] if "never_ends" not in name else "LS106"


ROWS = [
    pytest.param(neighbour, way, id=f"{name}, {way}")
    for name, neighbour in NEIGHBOURS.items()
    for way in WAYS
    if not (neighbour.beside and way == "audit")  # over loops it is watched, too
]


def loading(*plugins: str) -> list[str]:
    """The options that load plugins in this order."""
    return [option for plugin in plugins for option in ("-p", plugin)]


@pytest.mark.parametrize(("neighbour", "way"), ROWS)
def test_safe_tests_pass_and_broken_ones_fail(
    shop: pytest.Pytester, neighbour: Neighbour, way: str
) -> None:
    pytest.importorskip(neighbour.module)
    shop.makepyfile(test_shop=HEAD + neighbour.tests)
    plugins = [*neighbour.plugins]
    plugins.insert(0 if way == "marker" else len(plugins), "loopsafe")
    run = shop.runpytest_subprocess if neighbour.beside else shop.runpytest_inprocess

    result = run(*loading(*plugins), *neighbour.options, *WAYS[way], "--junitxml=verdicts.xml")

    found = verdicts(shop)
    assert found == {name: expected(name, way, neighbour.codes) for name in found}
    assert len({name.partition("[")[0] for name in found}) == neighbour.tests.count("def test_")
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


# -- a loop that somebody keeps ----------------------------------------------------------------


def test_a_loop_that_is_installed_is_there_after_a_marked_test(shop: pytest.Pytester) -> None:
    """As pytest-asyncio 1.1 has it for a module, and many a project for its session."""
    shop.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.fixture(scope="module", autouse=True)
        def loop():
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            yield loop
            asyncio.set_event_loop(None)
            loop.close()

        @pytest.mark.multi_loop
        def test_marked():
            asyncio.run(asyncio.sleep(0))

        @pytest.mark.multi_loop
        async def test_marked_async():
            pass

        def test_after(loop):
            assert asyncio.get_event_loop() is loop
        """
    )

    result = shop.runpytest_inprocess(*loading("loopsafe"), "-W", "error")

    result.assert_outcomes(passed=3)


# -- pytest-timeout ----------------------------------------------------------------------------

NEVER_ENDS = """
    passes = []

    @marked
    async def test_marked_leaky():
        await leaky()
        passes.append(1)
        if len(passes) == 3:
            await asyncio.sleep(60)

    @marked
    async def test_after_safe():
        await safe()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no timers that ring")
def test_what_was_found_before_a_timeout_is_told_with_it(shop: pytest.Pytester) -> None:
    pytest.importorskip("pytest_timeout")
    shop.makepyfile(test_shop=HEAD + NEVER_ENDS)

    result = shop.runpytest_inprocess(*loading("timeout", "loopsafe"), "--timeout=4")

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*Failed: Timeout*", "*- loopsafe -*", "  LS102*in passes 2, 3*"])
    assert "in pass 3 of 2" not in result.stdout.str()


def test_a_timeout_that_ends_the_process_does_not_end_the_report(shop: pytest.Pytester) -> None:
    pytest.importorskip("pytest_timeout")
    shop.makepyfile(test_shop=HEAD + NEVER_ENDS)

    result = shop.runpytest_subprocess(
        *loading("loopsafe", "timeout"),
        *("--timeout=4", "--timeout-method=thread", "--loopsafe-json=found.json"),
    )

    result.stderr.fnmatch_lines(["*LS102 foreign-primitive*", "pytest-loopsafe: *os._exit(1)*"])
    (test,) = found_in(shop)
    assert (test["outcome"], [one["code"] for one in test["findings"]]) == (
        "interrupted",
        ["LS102"],
    )


def found_in(shop: pytest.Pytester) -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = json.loads((shop.path / "found.json").read_text())["tests"]
    return tests


# -- pytest-rerunfailures ----------------------------------------------------------------------

FIRST_TIME = """
    runs = []

    @pytest.fixture
    def ends_unsafe():
        yield
        if len(runs) == 1:
            asyncio.run(leaky())
            asyncio.run(leaky())

    def test_broken_the_first_time(ends_unsafe):
        runs.append(1)
        if len(runs) == 1:
            asyncio.run(broken())
"""


@pytest.mark.parametrize("verbosity", ["-q", "-v", "--tb=auto"])
def test_what_a_rerun_does_not_show_again_is_told(shop: pytest.Pytester, verbosity: str) -> None:
    pytest.importorskip("pytest_rerunfailures")
    shop.makepyfile(test_shop=HEAD + FIRST_TIME)

    options = ("--reruns=1", "--loopsafe", "--loopsafe-json=found.json", verbosity)
    result = shop.runpytest_inprocess(*loading("rerunfailures", "loopsafe"), *options)

    assert result.parseoutcomes().keys() == {"passed", "rerun"}
    result.stdout.fnmatch_lines(
        ["loopsafe: * in 1 test (LS101*) that came in no later run of the test"]
        if verbosity == "-q"
        else ["LS101 *in 1 test", "  test_shop.py::test_broken_the_first_time: LS101: *"]
    )
    assert [test["outcome"] for test in found_in(shop)] == ["rerun", "passed"]


def test_findings_can_be_excepted_from_reruns(shop: pytest.Pytester) -> None:
    pytest.importorskip("pytest_rerunfailures")
    shop.makepyfile(test_shop=HEAD + FIRST_TIME.replace("yield", "return"))

    options = ("--reruns=1", "--rerun-except=LS[0-9]{3} ", "--loopsafe")
    result = shop.runpytest_inprocess(*loading("loopsafe", "rerunfailures"), *options)

    assert result.parseoutcomes().keys() == {"failed"}


# -- pytest-cov --------------------------------------------------------------------------------


@pytest.mark.parametrize("core", ["ctrace", "sysmon"])
def test_coverage_is_what_it_is_without(
    shop: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, core: str
) -> None:
    """Both follow raised errors by ``sys.monitoring`` then, each with a tool of its own."""
    pytest.importorskip("pytest_cov")
    if core == "sysmon" and sys.version_info < (3, 12):
        pytest.skip("sys.monitoring came with Python 3.12")
    monkeypatch.setenv("COVERAGE_CORE", core)
    shop.makepyfile(test_shop=HEAD + PLAIN)
    cover = ("--cov=acts", "--cov-report=term-missing", "--junitxml=verdicts.xml")

    options = (*cover, "--loopsafe-loops=3")
    result = shop.runpytest_subprocess(*loading("pytest_cov", "loopsafe"), *options)

    found = verdicts(shop)
    assert found == {name: expected(name, "over loops") for name in found}
    result.stdout.fnmatch_lines(["acts.py * 0 * 100%*"])
    result.stdout.fnmatch_lines(["  swallowed: at acts.py:18 in wait_for *except RuntimeError:"])


# -- pytest-xdist ------------------------------------------------------------------------------

DISTS = ["load", "loadscope", "loadfile", "loadgroup", "worksteal", "each"]


@pytest.mark.parametrize("dist", DISTS)
def test_however_xdist_hands_out_the_tests(shop: pytest.Pytester, dist: str) -> None:
    pytest.importorskip("xdist")
    shop.makepyfile(test_shop=HEAD + PLAIN, test_more=HEAD + LEAKY)

    result = shop.runpytest_subprocess(
        *loading("xdist", "loopsafe"),
        *("-n", "2", f"--dist={dist}", "--loopsafe-loops=3", "--color=yes"),
        *("--junitxml=verdicts.xml", "--loopsafe-json=found.json"),
    )

    found = verdicts(shop)
    assert found == {name: expected(name, "over loops") for name in found}
    times = 2 if dist == "each" else 1
    assert len(found_in(shop)) == times * len(found) == times * 8
    told = result.stdout.str()
    assert told.count("\x1b[31mLS102 foreign-primitive (swallowed)\x1b[0m") == times * 4
    assert told.count("  swallowed: at acts.py:18 in wait_for ") == times


def test_with_dist_each_every_worker_has_its_own_findings(shop: pytest.Pytester) -> None:
    """Both have told of the test's call before any tells of its teardown."""
    pytest.importorskip("xdist")
    shop.makepyfile(
        test_shop=HEAD
        + """
    import os
    import pathlib
    import time

    @pytest.fixture
    def ends_unsafe():
        yield
        pathlib.Path(__file__).with_name(os.environ["PYTEST_XDIST_WORKER"]).touch()
        while len(list(pathlib.Path(__file__).parent.glob("gw*"))) < 2:
            time.sleep(0.01)
        asyncio.run(leaky())
        asyncio.run(leaky())

    def test_broken(ends_unsafe):
        asyncio.run(broken())
"""
    )

    options = ("-n", "2", "--dist=each", "--loopsafe", "--loopsafe-json=found.json")
    result = shop.runpytest_subprocess(*loading("loopsafe", "xdist"), *options)

    result.assert_outcomes(failed=2, errors=2)
    assert [len(test["findings"]) for test in found_in(shop)] == [2, 2]


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "os._exit(3)"])
def test_what_a_worker_has_told_stays_when_it_crashes(shop: pytest.Pytester, end: str) -> None:
    pytest.importorskip("xdist")
    shop.makepyfile(
        test_shop=HEAD
        + PLAIN
        + f"""
    import os

    def test_that_crashes():
        asyncio.run(broken())
        {end}

    @marked
    async def test_marked_later_leaky():
        await leaky("later")
"""
    )

    options = ("-n", "1", "--loopsafe", "--loopsafe-json=found.json")
    result = shop.runpytest_subprocess(*loading("xdist", "loopsafe"), *options)

    result.stdout.fnmatch_lines(["worker 'gw0' crashed while running*test_that_crashes'"])
    codes = {
        test["nodeid"].rpartition("::")[2]: "".join(one["code"] for one in test["findings"])
        for test in found_in(shop)
    }
    found = {name: code or "passed" for name, code in codes.items()}
    assert found == {name: expected(name, "audit") for name in found}
    assert len(found) == 8
    result.stdout.fnmatch_lines(["LS101 cross-loop-await * 1 error in 1 test"])
    if "exit" in end:
        result.stderr.fnmatch_lines(
            ["  LS101 cross-loop-await*", "*test_that_crashes called os._*"]
        )
