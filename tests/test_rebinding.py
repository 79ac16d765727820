"""assert_rebinds: each of the six conditions, broken by a resource that keeps the other five."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

import pytest_loopsafe
from pytest_loopsafe import LoopSafetyError, SettingsError
from pytest_loopsafe._run import rebinding
from pytest_loopsafe._words.settings import Settings
from pytest_loopsafe.recipes import LoopLocal

module_client: Any = None


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a broken resource left open is collected here, while its warnings are expected."""
    yield
    gc.collect()


def broken(resource: Any, **options: Any) -> set[str]:
    """The letters of the conditions that are broken."""
    probe = options.pop("probe", None)
    try:
        report = rebinding.assert_rebinds(resource, Settings.checked(**options), probe=probe)
    except LoopSafetyError as error:
        report = error.report
    return {line.strip()[1] for line in report.verdict if ": BROKEN" in line}


def not_looked_at(resource: Any, **options: Any) -> str:
    """The letters of the conditions of which no use told anything."""
    with pytest.raises(LoopSafetyError) as caught:
        rebinding.assert_rebinds(resource, Settings.checked(**options))
    lines = caught.value.report.verdict
    return "".join(line.strip()[1] for line in lines if line.endswith(": not looked at"))


def fails_in(*failing: int) -> Callable[[], object]:
    """A getter that gives one object for all loops, and an error in some of them."""
    calls = iter(range(1, 100))
    one = object()

    async def get() -> object:
        if next(calls) in failing:
            raise OSError("nobody is there")
        return one

    return get


@pytest.mark.parametrize(
    ("failing", "options", "letters"),
    [
        (range(1, 100), {}, "acdef"),
        (range(1, 100), {"concurrency": 4}, "acdef"),
        ((1,), {}, "e"),
        ((1, 4), {}, "de"),  # the second loop's two calls lie between
    ],
)
def test_what_no_use_told_is_not_called_ok(
    failing: tuple[int, ...], options: dict[str, Any], letters: str
) -> None:
    assert not_looked_at(fails_in(*failing), **options) == letters


class Holder:
    """Keeps a client for each loop, with one fault."""

    def __init__(self, fault: str, url: str) -> None:
        self.fault = fault
        self.kept: Any = None
        self.loop: Any = None
        self.make = lambda: Redis.from_url(url)
        self.right = LoopLocal(self.make, close=Redis.aclose)

    async def get(self) -> Redis:
        if self.fault == "first loop":
            self.kept = self.kept or self.make()
            return self.kept
        if self.fault == "another each time":
            await self.right.aclose()
        if self.fault == "not closed":
            loop = asyncio.get_running_loop()
            if self.loop is None or self.loop() is not loop:
                self.kept, self.loop = self.make(), weakref.ref(loop)
            return self.kept
        return await self.right.get()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("fault", "options", "letters"),
    [
        ("", {}, set()),
        ("", {"concurrency": 8}, set()),
        ("", {"schedule": "recycled"}, set()),
        ("", {"schedule": "persistent", "concurrency": 3}, set()),
        ("first loop", {}, {"a", "b"}),
        ("another each time", {}, {"c"}),
        ("not closed", {}, {"d"}),
    ],
)
def test_each_condition(
    fault: str, options: dict[str, Any], letters: set[str], redis_url: str
) -> None:
    found = broken(Holder(fault, redis_url).get, **options)
    assert letters <= found
    assert letters or not found


class Session:
    """Made for one loop, without a connection that would keep the loop alive."""


class ById:
    """Remembers the number of the loop that it made its session for."""

    def __init__(self) -> None:
        self.number = 0
        self.session = Session()

    def get(self) -> Session:
        number = id(asyncio.get_running_loop())
        if number != self.number:
            self.number, self.session = number, Session()
        return self.session


def test_a_number_is_no_loop() -> None:
    """The loops' own ids may all differ; the run with recycled ones is a part of it."""
    assert broken(ById().get, probe=lambda session: None) == {"f"}


class Racer:
    """Looks, waits, builds: two tasks that look at the same time both build."""

    def __init__(self) -> None:
        self.loop: Any = None
        self.lock: Any = None

    async def get(self) -> Any:
        loop = asyncio.get_running_loop()
        if self.loop is None or self.loop() is not loop:
            await asyncio.sleep(0)
            self.lock, self.loop = asyncio.Lock(), weakref.ref(loop)
        return self.lock


def test_a_race_is_broken_only_when_it_runs() -> None:
    assert broken(Racer().get) == set()
    assert broken(Racer().get, concurrency=4) == {"e"}


def test_an_object_is_taken_as_it_is() -> None:
    assert "b" in broken(asyncio.Lock())
    assert "b" in broken(asyncio.Queue())


def test_a_text_is_looked_up_in_each_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.module_client", LoopLocal(asyncio.Lock))
    assert broken(f"{__name__}:module_client.get") == set()


def test_what_is_not_known_is_looked_at_and_said_so() -> None:
    kept: dict[str, Any] = {}
    report = rebinding.assert_rebinds(lambda: kept, Settings.checked(loops=2))
    assert any("no probe is known for a dict" in note for note in report.notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nowhere", "write 'package.module:attribute'"),
        ("no_such_module:x", "No module named 'no_such_module'"),
        ("asyncio:no_such_name", "has no attribute 'no_such_name'"),
    ],
)
def test_a_text_that_leads_nowhere_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        rebinding.Tracked.of(text)


def test_the_fixture_has_both(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest_loopsafe

        class Pinger(pytest_loopsafe.Adapter):
            types = ("test_it.Client",)

            async def probe(self, resource):
                resource.pings += 1

        def pytest_loopsafe_adapters(config):
            return [Pinger()]
        """
    )
    pytester.makepyfile(
        test_it="""
        import asyncio

        class Client:
            pings = 0

        client = Client()
        lock = asyncio.Lock()

        def test_good(loopsafe_runner):
            tracked = loopsafe_runner.track("test_it:client")
            loopsafe_runner.assert_rebinds(tracked, loops=2)
            assert client.pings == 4  # two loops, and two more with recycled ids

        def test_bad(loopsafe_runner):
            loopsafe_runner.assert_rebinds(lambda: lock)
        """
    )
    result = pytester.runpytest("-p", "no:asyncio")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*does not rebind:*", "*(b) its first use in a new loop succeeds: BROKEN*"]
    )


def test_an_adapter_of_another_kind_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("def pytest_loopsafe_adapters(config): return [42]")
    pytester.makepyfile("def test_it(loopsafe_runner): pass")
    result = pytester.runpytest("-p", "no:asyncio")
    assert result.ret != 0
    assert "pytest_loopsafe_adapters returned 42" in result.stdout.str() + result.stderr.str()


def test_without_pytest_too(make: Callable[[], Any] = lambda: LoopLocal(asyncio.Lock)) -> None:
    holder = make()

    async def use() -> None:
        async with await holder.get():
            await asyncio.sleep(0)

    assert pytest_loopsafe.run(use, loops=4).findings == ()
