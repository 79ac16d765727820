"""The schedules ``threads`` and ``concurrent``: each pass in a thread of its own."""

import asyncio
import contextvars
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

import pytest_loopsafe
from pytest_loopsafe import LoopSafetyError
from pytest_loopsafe._run import rebinding
from pytest_loopsafe._run.threads import Rendezvous, in_threads
from pytest_loopsafe._words.settings import Settings
from pytest_loopsafe.recipes import LoopLocal

BOTH = ("threads", "concurrent")
LONG = 20.0
"""Seconds that nothing here takes, so that what waits for so long waits for ever."""

local_to_context: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="unset")


@pytest.fixture(params=BOTH)
def schedule(request: pytest.FixtureRequest) -> str:
    schedule: str = request.param
    return schedule


def run(func: Callable[[], Any], **settings: Any) -> pytest_loopsafe.LoopReport:
    return pytest_loopsafe.run(func, check=False, **settings)


async def where() -> tuple[threading.Thread, int]:
    await asyncio.sleep(0)
    return threading.current_thread(), id(asyncio.get_running_loop())


def where_in_sync_code() -> tuple[threading.Thread, int]:
    return asyncio.run(where())


@pytest.mark.parametrize("func", [where, where_in_sync_code])
def test_each_pass_has_a_thread_of_its_own_that_is_gone_afterwards(
    func: Callable[[], Any], schedule: str
) -> None:
    before = threading.enumerate()
    local_to_context.set("of the test")
    report = run(func, schedule=schedule)
    threads = [thread for thread, _ in report.results]
    assert len(set(threads)) == 3
    assert threading.main_thread() not in threads
    assert not any(thread.daemon or thread.is_alive() for thread in threads)
    assert threading.enumerate() == before
    assert [one.number for one in report.passes] == [1, 2, 3]
    assert report.schedule == schedule
    assert not report.findings
    assert not report.notes


def test_loop_and_pass_have_the_same_number(schedule: str) -> None:
    report = run(where, schedule=schedule, loops=8)
    assert [(one.number, one.pass_number) for one in report.loops] == [
        (number, number) for number in range(1, 9)
    ]
    assert [one.thread for one in report.loops] == [thread.name for thread, _ in report.results]


def test_context_variables_are_a_new_threads(schedule: str) -> None:
    async def read() -> str:
        return local_to_context.get()

    local_to_context.set("of the test")
    assert set(run(read, schedule=schedule).results) == {"unset"}


def test_threads_are_one_after_another() -> None:
    inside: list[int] = []

    async def body() -> None:
        inside.append(1)
        assert len(inside) == 1
        await asyncio.sleep(0.001)
        inside.clear()

    assert run(body, schedule="threads").results == (None,) * 3


def test_threads_do_both_with_the_ids_of_their_loops() -> None:
    ids = [number for _, number in run(where, schedule="threads", loops=9).results]
    repeats = [first == second for first, second in zip(ids, ids[1:], strict=False)]
    assert True in repeats
    assert False in repeats


@pytest.mark.parametrize("how", ["async", "sync"])
def test_concurrent_passes_are_all_there_at_the_same_time(how: str) -> None:
    everybody = threading.Barrier(5)

    def meet() -> None:
        everybody.wait(LONG)

    async def body() -> int:
        meet()
        return id(asyncio.get_running_loop())

    report = run(body if how == "async" else meet, schedule="concurrent", loops=5)
    assert [one.error for one in report.passes] == [None] * 5
    if how == "async":
        assert len(set(report.results)) == 5


def test_concurrent_loops_are_open_until_the_last_pass_has_ended() -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    everybody = threading.Barrier(3)

    async def body() -> list[bool]:
        own = asyncio.get_running_loop()
        loops.append(own)
        if everybody.wait(LONG) > 0:
            return []
        others = [loop for loop in loops if loop is not own]
        while any(loop.is_running() for loop in others):
            await asyncio.sleep(0.001)
        return [loop.is_closed() for loop in others]

    results = run(body, schedule="concurrent").results
    assert sorted(results) == [[], [], [False, False]]
    assert all(loop.is_closed() for loop in loops)
    loops.clear()


def test_calls_are_gathered_in_each_of_the_loops(schedule: str) -> None:
    report = run(where, schedule=schedule, loops=2, concurrency=4)
    for calls in report.results:
        assert len(calls) == 4
        assert len({number for _, number in calls}) == 1
    assert len({calls[0][0] for calls in report.results}) == 2


@pytest.mark.parametrize("module", ["asyncio", "uvloop"])
def test_a_loop_factory_makes_the_loops(module: str, schedule: str) -> None:
    factory = pytest.importorskip(module).new_event_loop
    made: list[int] = []

    def make() -> asyncio.AbstractEventLoop:
        made.append(threading.get_ident())
        loop: asyncio.AbstractEventLoop = factory()
        return loop

    report = run(where, schedule=schedule, loop_factory=make)
    assert len(made) == len(report.loops) == 3
    assert threading.get_ident() not in made


def test_a_factory_that_fails_in_one_thread_holds_up_no_other(schedule: str) -> None:
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return asyncio.new_event_loop() if len(made) != 2 else 7

    with pytest.raises(pytest_loopsafe.LoopFactoryError, match="int instead of an event loop"):
        run(where, schedule=schedule, loop_factory=make)


# -- what leaves a pass ----------------------------------------------------------------------

ERRORS = [ValueError("wrong"), asyncio.CancelledError()]
ENDINGS = [SystemExit(3), KeyboardInterrupt(), pytest.skip.Exception("no")]


def raising(error: BaseException, *, is_async: bool) -> Callable[[], Any]:
    def raise_it() -> None:
        raise error

    async def await_it() -> None:
        await asyncio.sleep(0)
        raise error

    return await_it if is_async else raise_it


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_exception_is_the_outcome_of_its_pass(
    error: BaseException, is_async: bool, schedule: str
) -> None:
    report = run(raising(error, is_async=is_async), schedule=schedule, loops=2)
    assert [one.error for one in report.passes] == [error, error]
    with pytest.raises(type(error)) as caught:
        pytest_loopsafe.run(raising(error, is_async=is_async), schedule=schedule)
    assert caught.value is error
    assert "raised in each of 3 passes" in error.__notes__[-1]
    frames = [entry.path for entry in caught.traceback]
    assert [str(one) for one in frames[-1:]] == [__file__]


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: type(ending).__name__)
def test_what_ends_a_run_ends_it_from_a_thread_too(
    ending: BaseException, is_async: bool, schedule: str
) -> None:
    with pytest.raises(type(ending)) as caught:
        run(raising(ending, is_async=is_async), schedule=schedule)
    assert caught.value is ending


def test_others_go_on_where_one_of_the_concurrent_passes_fails() -> None:
    order = iter(range(3))

    async def body() -> int:
        number = next(order)
        await asyncio.sleep(0.001)
        if number == 1:
            raise ValueError(number)
        return number

    report = run(body, schedule="concurrent")
    assert sorted(str(one) for one in report.results) == ["0", "1", "2"]
    assert [type(one.error) for one in report.passes].count(ValueError) == 1


# -- ends ------------------------------------------------------------------------------------


async def wait() -> None:
    await asyncio.Event().wait()


def wait_in_a_loop() -> None:
    asyncio.run(wait())


def wait_without_one() -> None:
    while True:
        time.sleep(0.01)


@pytest.mark.parametrize("body", [wait, wait_in_a_loop, wait_without_one])
def test_a_pass_that_hangs_is_ended_and_reported(body: Callable[[], Any], schedule: str) -> None:
    before = threading.enumerate()
    report = run(body, schedule=schedule, timeout=0.3, loops=2)
    assert "LS106" in [one.code for one in report.errors]
    assert isinstance(report.results[0], TimeoutError)
    assert len(report.passes) == (2 if schedule == "concurrent" else 1)
    assert threading.enumerate() == before


@pytest.mark.parametrize("module", ["asyncio", "uvloop"])
def test_who_waits_for_a_pass_that_hangs_is_not_blamed(module: str) -> None:
    factory = pytest.importorskip(module).new_event_loop
    order = iter(range(3))

    async def body() -> str:
        if next(order) == 1:
            await asyncio.Event().wait()
        return "done"

    report = run(body, schedule="concurrent", timeout=0.3, loop_factory=factory)
    late = [one.number for one in report.passes if isinstance(one.error, TimeoutError)]
    assert [one.value for one in report.passes if one.error is None] == ["done"] * 2
    (finding,) = [one for one in report.findings if one.code == "LS106"]
    assert list(finding.passes) == late
    assert f"pass {late[0]} did not finish" in finding.message


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_control_c_ends_the_passes_and_then_the_run(schedule: str) -> None:
    before = threading.enumerate()

    async def body() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(LONG)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(body, schedule=schedule, loops=1)
    assert time.monotonic() - began < LONG
    assert threading.enumerate() == before


def test_nobody_waits_for_a_thread_that_ended_early_or_twice_for_the_same() -> None:
    point = Rendezvous(3)

    def come_twice() -> str:
        point.come()
        point.wait()
        return "waited"

    assert in_threads([lambda: "early", come_twice, come_twice], points=[point]) == [
        "early",
        "waited",
        "waited",
    ]


def test_threads_that_cannot_be_started_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    point, start, started = Rendezvous(3), threading.Thread.start, []

    def start_two(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) > 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    with pytest.raises(RuntimeError, match="can't start"):
        in_threads([point.wait] * 3, points=[point])
    assert not any(thread.is_alive() for thread in started)


# -- twins -----------------------------------------------------------------------------------


class Server:
    """Answers each line with itself."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self.answer, "127.0.0.1", 0)
        )
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line == b"\r\n":
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            elif b":" not in line and b"HTTP" not in line:
                writer.write(line)
        writer.close()

    async def ended(self) -> None:
        self.server.close()
        own = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not own]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.ended(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = Server()
    yield server.port
    server.stop()


class Kind:
    """Something that binds to a loop: how it is made, used and closed."""

    def __init__(self, port: int, redis_url: str) -> None:
        self.port = port
        self.redis_url = redis_url

    async def make(self) -> Any:
        raise NotImplementedError

    async def use(self, one: Any) -> None:
        raise NotImplementedError

    async def close(self, one: Any) -> None:
        return


class OfRedis(Kind):
    async def make(self) -> Redis:
        return Redis.from_url(self.redis_url)

    async def use(self, one: Redis) -> None:
        await one.set("threads", 1)
        await one.get("threads")

    async def close(self, one: Redis) -> None:
        await one.aclose()


class OfHttp(Kind):
    async def make(self) -> httpx.AsyncClient:
        return httpx.AsyncClient()

    async def use(self, one: httpx.AsyncClient) -> None:
        await one.get(f"http://127.0.0.1:{self.port}/")

    async def close(self, one: httpx.AsyncClient) -> None:
        await one.aclose()


class OfStreams(Kind):
    async def make(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def use(self, one: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        reader, writer = one
        writer.write(b"echo\n")
        await writer.drain()
        await reader.readline()

    async def close(self, one: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        one[1].close()
        await one[1].wait_closed()


class OfLocks(Kind):
    async def make(self) -> asyncio.Lock:
        return asyncio.Lock()

    async def use(self, one: asyncio.Lock) -> None:
        async with one:
            await asyncio.sleep(0)


class OfQueues(Kind):
    async def make(self) -> asyncio.Queue[int]:
        return asyncio.Queue()

    async def use(self, one: asyncio.Queue[int]) -> None:
        task = asyncio.create_task(one.get())
        await asyncio.sleep(0)
        await one.put(1)
        await task


class OfFutures(Kind):
    async def make(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_later(0.05, future.set_result, None)
        return future

    async def use(self, one: asyncio.Future[None]) -> None:
        await asyncio.wait([one])  # done or not, and again


KINDS = (OfRedis, OfHttp, OfStreams, OfLocks, OfQueues, OfFutures)
CROSSED = {f"LS10{number}" for number in range(1, 9)} | {"LS201", "LS202"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, port: int, redis_url: str) -> Kind:
    kind: Kind = request.param(port, redis_url)
    return kind


@pytest.mark.filterwarnings("ignore")
def test_one_for_all_loops_is_found(kind: Kind, schedule: str) -> None:
    kept: list[Any] = []

    async def body() -> None:
        if not kept:
            kept.append(await kind.make())
        await kind.use(kept[0])

    report = run(body, schedule=schedule, timeout=1.0)
    assert {one.code for one in report.errors} & CROSSED
    assert {one.code for one in report.errors} <= CROSSED
    assert not [note for note in report.notes if "failed" in note]


def test_one_for_each_loop_is_safe(kind: Kind, schedule: str) -> None:
    holder = LoopLocal(kind.make, close=kind.close)

    async def body() -> None:
        for _ in range(2):
            await kind.use(await holder.get())

    report = run(body, schedule=schedule, concurrency=1 if isinstance(kind, OfStreams) else 3)
    assert [(one.code, one.message) for one in report.findings] == []
    assert [one.error for one in report.passes if one.error] == []


def test_one_for_each_thread_is_safe(kind: Kind, schedule: str) -> None:
    local = threading.local()

    async def body() -> None:
        local.one = await kind.make()
        for _ in range(2):
            await kind.use(local.one)
        await kind.close(local.one)

    report = run(body, schedule=schedule)
    assert [(one.code, one.message) for one in report.findings] == []
    assert [one.error for one in report.passes if one.error] == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shared", [True, False], ids=["one client", "one for each loop"])
@pytest.mark.parametrize("kind", [OfRedis, OfHttp], indirect=True)
def test_a_client_left_open_is_stale_where_loops_that_lived_at_once_shared_it(
    kind: Kind, shared: bool
) -> None:
    """Each loop has a connection of its own in it, so nothing has crossed yet."""
    clients: list[Any] = []
    everybody = threading.Barrier(2)

    async def body() -> None:
        if everybody.wait(LONG) == 0 or not shared:
            own = await kind.make()
            clients.append(own)
        everybody.wait(LONG)
        client = clients[0] if shared else own
        first = asyncio.create_task(kind.use(client))
        await asyncio.to_thread(everybody.wait, LONG)
        await first

    report = run(body, schedule="concurrent", loops=2, timeout=2.0)
    assert bool({one.code for one in report.errors}) is shared
    if {one.code for one in report.errors} == {"LS201"}:
        assert "used the same client" in report.errors[0].message


def test_no_detector_is_switched_off_where_many_loops_live_at_once(
    recwarn: pytest.WarningsRecorder,
) -> None:
    """What one thread's clients and primitives are noted in, others read meanwhile."""
    transport = httpx.MockTransport(lambda request: httpx.Response(204))

    async def body() -> None:
        for _ in range(20):
            lock, queue = asyncio.Lock(), asyncio.Queue[int]()
            async with httpx.AsyncClient(transport=transport) as client, lock:
                await queue.put(1)
                await asyncio.gather(client.get("http://here/"), queue.get())

    report = run(body, schedule="concurrent", loops=8)
    assert report.findings == ()
    assert report.notes == ()
    assert not recwarn.list


def test_weak_keys_are_safe(schedule: str) -> None:
    locks: weakref.WeakKeyDictionary[Any, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def body() -> None:
        async with locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            await asyncio.sleep(0)

    assert run(body, schedule=schedule).findings == ()


class OneSlot:
    """The latest loop's client: right for loops that follow one another, if it were closed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.home: Any = lambda: None
        self.client: Any = None

    async def get(self) -> Redis:
        loop = asyncio.get_running_loop()
        if self.home() is not loop:
            self.home, self.client = weakref.ref(loop), Redis.from_url(self.url)
        client: Redis = self.client
        return client


@pytest.mark.filterwarnings("ignore")
def test_one_slot_for_loops_that_live_at_once_is_rebuilt_again_and_again(redis_url: str) -> None:
    slot, everybody = OneSlot(redis_url), threading.Barrier(2)

    async def body() -> None:
        for _ in range(4):
            await (await slot.get()).ping()
            await asyncio.to_thread(everybody.wait, LONG)

    report = run(body, schedule="concurrent", loops=2)
    assert [one.error for one in report.passes if one.error] == []
    assert "LS205" in [one.code for one in report.findings]


# -- assert_rebinds --------------------------------------------------------------------------


def broken(resource: Any, **options: Any) -> set[str]:
    """The letters of the conditions that are broken."""
    try:
        report = rebinding.assert_rebinds(resource, Settings.checked(**options))
    except LoopSafetyError as error:
        report = error.report
    return {line.strip()[1] for line in report.verdict if ": BROKEN" in line}


@pytest.mark.parametrize("concurrency", [1, 4])
def test_one_for_each_loop_rebinds(redis_url: str, schedule: str, concurrency: int) -> None:
    holder = LoopLocal(lambda: Redis.from_url(redis_url), close=Redis.aclose)
    assert broken(holder.get, schedule=schedule, concurrency=concurrency) == set()


@pytest.mark.filterwarnings("ignore")
def test_one_for_all_loops_does_not(redis_url: str, schedule: str) -> None:
    client = Redis.from_url(redis_url)
    assert "a" in broken(lambda: client, schedule=schedule, timeout=1.0)


@pytest.mark.filterwarnings("ignore")
def test_one_slot_for_loops_that_live_at_once_does_not(redis_url: str) -> None:
    assert broken(OneSlot(redis_url).get, schedule="concurrent") >= {"c"}


class PerThread:
    """A lock for each thread; each thread here has one loop."""

    def __init__(self) -> None:
        self.local = threading.local()

    def get(self) -> asyncio.Lock:
        if not hasattr(self.local, "lock"):
            self.local.lock = asyncio.Lock()
        lock: asyncio.Lock = self.local.lock
        return lock


def test_one_for_each_thread_rebinds_where_each_loop_has_a_thread(schedule: str) -> None:
    assert broken(PerThread().get, schedule=schedule) == set()
    assert broken(PerThread().get, schedule="consecutive") != set()


class Session:
    """Made for one loop, without anything that would keep the loop alive."""


class ById:
    """Remembers the number of the loop that it made its session for."""

    def __init__(self) -> None:
        self.number, self.session = 0, Session()

    def get(self) -> Session:
        number = id(asyncio.get_running_loop())
        if number != self.number:
            self.number, self.session = number, Session()
        return self.session


def test_threads_are_run_with_ids_recycled_too() -> None:
    assert broken(ById().get, schedule="threads") == {"f"}


def test_what_concurrent_does_not_look_at_is_said() -> None:
    holder = LoopLocal(asyncio.Lock)
    report = rebinding.assert_rebinds(holder.get, Settings.checked(schedule="concurrent"))
    (note,) = report.notes
    assert note.startswith("(d), (f) are not looked at with schedule='concurrent'")
    with pytest.raises(LoopSafetyError) as caught:
        rebinding.assert_rebinds(asyncio.Lock(), Settings.checked(schedule="concurrent", timeout=1))
    assert [line for line in caught.value.report.verdict if line.endswith("not looked at")] == [
        "  (d) what it held in the previous loop is closed: not looked at",
        "  (e) concurrent first uses share one instance: not looked at",
        "  (f) none of it depends on the loop's id(): not looked at",
    ]


# -- the marker ------------------------------------------------------------------------------


def test_the_marker_runs_tests_in_threads(pytester: pytest.Pytester, schedule: str) -> None:
    pytester.makepyfile(
        f"""
        import asyncio, threading
        import pytest

        pytestmark = pytest.mark.multi_loop(2, schedule={schedule!r})
        lock = asyncio.Lock()
        threads = set()

        @pytest.fixture
        def name(monkeypatch, tmp_path):
            monkeypatch.setenv("NAME", "of the fixture")
            return tmp_path

        async def test_async(name):
            assert name.is_dir()
            threads.add(threading.current_thread())
            assert threading.current_thread() is not threading.main_thread()

        def test_sync(name):
            asyncio.run(asyncio.sleep(0))
            assert threading.current_thread() not in threads

        async def test_skipped():
            pytest.skip("not today")

        async def test_wrong():
            assert 1 == 2

        async def test_shared():
            async with lock:
                await asyncio.sleep(0)
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:randomly")
    result.assert_outcomes(passed=2, skipped=1, failed=2)
    result.stdout.fnmatch_lines(["*assert 1 == 2*"])
    result.stdout.fnmatch_lines(["*LS107*"])
