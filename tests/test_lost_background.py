"""LS207: background work that died with its loop is found, whatever keeps it from coming back.

In each case two thirds of the work is lost: it is an error, and names what stands for the dead
task. Their twins do come back, or were never meant to.
"""

import asyncio
import functools
import itertools
import sys
import threading
import time
import types
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._rules import ls209

Body = Callable[[], Awaitable[Any]]


async def forever() -> None:
    await asyncio.Event().wait()


# -- what remembers that it was started ----------------------------------------------------------

flag, count, state, home = False, 0, "", None
entries: dict[str, Any] = {}
names: set[str] = set()
event = threading.Event()
namespace = types.SimpleNamespace(up=False)


def module_flag() -> None:
    global flag
    if not flag:
        flag = True
        asyncio.create_task(forever())


def counter() -> None:
    global count
    if count == 0:
        asyncio.create_task(forever())
    count += 1


def text() -> None:
    global state
    if state != "running":
        state = "running"
        asyncio.create_task(forever())


def its_loop() -> None:
    global home
    if home is None:
        home = asyncio.get_running_loop()
        asyncio.create_task(forever())


def entry() -> None:
    if "worker" not in entries:
        entries["worker"] = asyncio.create_task(forever()).get_name()


def member() -> None:
    if "worker" not in names:
        names.add("worker")
        asyncio.create_task(forever())


def set_event() -> None:
    if not event.is_set():
        asyncio.create_task(forever())
        event.set()


def attribute() -> None:
    if not namespace.up:
        namespace.up = True
        asyncio.create_task(forever())


def own_attribute() -> None:
    if not getattr(own_attribute, "up", False):
        own_attribute.up = True  # type: ignore[attr-defined]
        asyncio.create_task(forever())


@functools.cache
def cached() -> None:
    asyncio.create_task(forever())


def _closure() -> Callable[[], None]:
    up = False

    def start() -> None:
        nonlocal up
        if not up:
            up = True
            asyncio.create_task(forever())

    return start


closure = _closure()


class Service:
    up = False

    def start(self) -> None:
        async def work() -> None:
            await forever()

        if not self.up:
            self.up = True
            asyncio.create_task(work())

    @classmethod
    def start_all(cls) -> None:
        if not cls.up:
            cls.up = True
            asyncio.create_task(forever())


service = Service()


def instance() -> None:
    service.start()


def of_class() -> None:
    Service.start_all()


class Slots:
    """It has no weak references."""

    __slots__ = ("up",)

    def __init__(self) -> None:
        self.up = False

    def start(self) -> None:
        if not self.up:
            self.up = True
            asyncio.create_task(forever())


slots = Slots()


def in_slots() -> None:
    slots.start()


GUARDS: dict[Callable[[], None], str] = {
    module_flag: "flag",
    counter: "count",
    text: "state",
    its_loop: "home",
    entry: "entries",
    member: "names",
    set_event: "event",
    attribute: "namespace.up",
    own_attribute: "own_attribute.up",
    cached: "cached",
    closure: "up",
    instance: "service.up",
    of_class: "Service.up",
    in_slots: "slots.up",
}


@pytest.mark.usefixtures("thawed")  # functions are found by their code, on the heap
@pytest.mark.parametrize(
    ("start", "what"), GUARDS.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_what_keeps_it_from_coming_back_is_named(start: Callable[[], None], what: str) -> None:
    async def body() -> None:
        start()
        await asyncio.sleep(0)

    report = pytest_loopsafe.run(body, check=False)

    (lost,) = [finding for finding in report.findings if finding.code == "LS207"]
    assert lost.is_error
    assert lost.owner is not None
    assert what in lost.owner


# -- more ways to be lost -------------------------------------------------------------------------


class Periodic:
    """A helper that many use: the code of the task is always the same."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self.task is None:
            self.task = asyncio.create_task(self.work())

    async def work(self) -> None:
        await forever()

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


heartbeat, stopped, beats = Periodic(), Periodic(), []


async def logged(work: Awaitable[None]) -> None:
    await work


async def request() -> None:
    await asyncio.sleep(0)


def behind_a_wrapper() -> Body:
    up = itertools.count()

    async def body() -> None:
        if next(up) == 0:
            asyncio.create_task(logged(forever()))
        await asyncio.create_task(logged(request()))

    return body


def beside_one_that_comes_back() -> Body:
    async def body() -> None:
        mine = Periodic()
        mine.start()
        heartbeat.start()
        await asyncio.sleep(0)
        await mine.stop()

    return body


def stopped_in_order_and_kept() -> Body:
    async def body() -> None:
        stopped.start()
        await asyncio.sleep(0)
        await stopped.stop()

    return body


beating = False


def beat() -> None:
    beats.append(1)
    asyncio.get_running_loop().call_later(60, beat)


def timer_that_sets_itself() -> Body:
    async def body() -> None:
        global beating
        if not beating:
            beating = True
            beat()

    return body


class Crew:
    def __init__(self) -> None:
        self.first: Any = None
        self.workers: list[Any] = []
        self.closed = False

    def start_first(self) -> None:
        if self.first is not None and not self.closed:
            return
        self.first = asyncio.create_task(forever())

    def fill_up(self) -> None:
        while len(self.workers) < 2:
            self.workers.append(asyncio.create_task(forever()))


crew = Crew()


@pytest.mark.parametrize(
    ("start", "held"), [(Crew.start_first, "first"), (Crew.fill_up, "workers")]
)
def test_a_dead_task_is_one_condition_among_others(start: Any, held: str) -> None:
    async def body() -> None:
        start(crew)

    report = pytest_loopsafe.run(body, check=False)
    assert [(one.code, one.owner) for one in report.errors] == [
        ("LS207", f"{__name__}.crew.{held}")
    ]


class Horn:
    cooling = warned = False

    def blow(self) -> None:
        if not self.cooling:
            self.cooling = True
            asyncio.get_running_loop().call_later(60, self.cooled)

    def cooled(self) -> None:
        self.cooling = False

    def ask(self) -> None:
        if not self.warned:
            self.warned = True
            asyncio.get_running_loop().call_later(60, self.warn)

    def warn(self) -> None:
        print("too loud")


horn = Horn()


def timer_that_takes_back_its_flag() -> Body:
    async def body() -> None:
        horn.blow()

    return body


@pytest.mark.parametrize(
    "make",
    [
        behind_a_wrapper,
        beside_one_that_comes_back,
        stopped_in_order_and_kept,
        timer_that_sets_itself,
        timer_that_takes_back_its_flag,
    ],
)
def test_it_is_lost_too(make: Callable[[], Body]) -> None:
    report = pytest_loopsafe.run(make(), check=False)
    assert "LS207" in [finding.code for finding in report.findings]


# -- twins that lose nothing ----------------------------------------------------------------------


def started_in_each_loop() -> Body:
    async def body() -> None:
        mine = Periodic()
        mine.start()
        await asyncio.sleep(0)

    return body


def of_an_object_in_slots_in_each_loop() -> Body:
    async def body() -> None:
        Slots().start()
        await asyncio.sleep(0)

    return body


def many_behind_a_wrapper() -> Body:
    async def body() -> None:
        await asyncio.gather(*(asyncio.create_task(logged(request())) for _ in range(50)))
        asyncio.create_task(logged(forever()))
        await asyncio.sleep(0)

    return body


def replaced_in_each_loop() -> Body:
    kept: dict[str, Periodic] = {}

    async def body() -> None:
        kept["it"] = Periodic()
        kept["it"].start()
        await asyncio.sleep(0)
        await kept["it"].stop()

    return body


class Store:
    """Saves later, and takes back what it meant to save."""

    save: asyncio.Task[None] | None = None

    def save_later(self) -> None:
        if self.save is not None:
            self.save.cancel()
        self.save = asyncio.create_task(forever())

    async def flush(self) -> None:
        if self.save is not None and not self.save.done():
            self.save.cancel()
            await asyncio.wait([self.save])


store = Store()


def saved_once_and_flushed() -> Body:
    passes = itertools.count()

    async def body() -> None:
        if next(passes) == 0:
            store.save_later()
            await asyncio.sleep(0)
        await store.flush()

    return body


class Connection:
    def __init__(self) -> None:
        self.task = asyncio.create_task(self.read())

    async def read(self) -> None:
        await forever()


first: Connection | None = None


def first_of_many_is_remembered() -> Body:
    async def body() -> None:
        global first
        mine = Connection()
        first = first or mine
        await asyncio.sleep(0)

    return body


def worker_of_all_passes() -> Body:
    kept: dict[str, Any] = {}

    def body() -> None:
        if not kept:
            loop = kept["loop"] = asyncio.new_event_loop()
            kept["thread"] = threading.Thread(target=loop.run_forever, daemon=True)
            kept["thread"].start()
            kept["work"] = asyncio.run_coroutine_threadsafe(forever(), loop)
        kept["passes"] = kept.get("passes", 0) + 1
        asyncio.run(asyncio.sleep(0))
        if kept["passes"] == 4:
            kept["work"].cancel()
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), kept["loop"]).result()
            kept["loop"].call_soon_threadsafe(kept["loop"].stop)
            kept["thread"].join()
            kept["loop"].close()

    return body  # type: ignore[return-value]


def timer_that_warns_once() -> Body:
    async def body() -> None:
        horn.ask()

    return body


def long_timer() -> Body:
    passes = itertools.count()

    async def body() -> None:
        if next(passes) == 0:
            asyncio.get_running_loop().call_later(60, print)

    return body


@pytest.mark.parametrize(
    "make",
    [
        started_in_each_loop,
        of_an_object_in_slots_in_each_loop,
        many_behind_a_wrapper,
        replaced_in_each_loop,
        saved_once_and_flushed,
        first_of_many_is_remembered,
        worker_of_all_passes,
        long_timer,
        timer_that_warns_once,
    ],
)
@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "persistent"])
def test_nothing_is_lost(make: Callable[[], Body], schedule: str) -> None:
    global first
    first, store.save = None, None
    report = pytest_loopsafe.run(make(), schedule=schedule, loops=4)
    assert [finding.message for finding in report.findings if finding.code == "LS207"] == []


def test_an_argument_that_is_a_proxy_is_left_alone() -> None:
    touched: list[str] = []

    class Proxy:
        def __getattr__(self, name: str) -> Any:
            touched.append(name)
            raise RuntimeError("working outside of a request")

    async def handle(request: Any) -> None:
        await asyncio.sleep(0)

    async def body() -> None:
        await asyncio.create_task(handle(Proxy()))

    report = pytest_loopsafe.run(body)
    assert (report.findings, report.notes, touched) == ((), (), [])


def test_a_worker_is_seen_among_many_tasks_of_a_librarys_wrapper() -> None:
    kept: list[Any] = []

    async def body() -> None:
        if not kept:
            kept.append(asyncio.create_task(forever()))
        await asyncio.gather(*(asyncio.wait_for(request(), 5) for _ in range(50)))

    report = pytest_loopsafe.run(body, check=False)
    assert "LS207" in [finding.code for finding in report.findings if finding.is_error]


# -- whether anything relies on it -----------------------------------------------------------------


def judged(body: Any, **settings: Any) -> list[tuple[str, str | None]]:
    report = pytest_loopsafe.run(body, check=False, **settings)
    assert [one.error for one in report.passes if one.error is not None] == []
    assert not [note for note in report.notes if "failed" in note]
    lost = [finding for finding in report.findings if finding.code == "LS207"]
    return [(str(one.severity), (one.owner or "").rpartition(".")[2] or None) for one in lost]


async def warn_when_slow(key: str) -> None:
    await asyncio.sleep(60)


def entry_of_a_cache() -> Body:
    """The entry is there because it was computed, and says nothing of the task beside it."""
    answers: dict[str, int] = {}

    async def answer(key: str) -> int:
        if key not in answers:
            asyncio.create_task(warn_when_slow(key))
            await asyncio.sleep(0)
            answers[key] = len(key)
        return answers[key]

    async def body() -> None:
        await answer("question")

    return body


started: set[str] = set()


def entry_that_is_only_asked() -> Body:
    async def body() -> None:
        def ensure(key: str) -> None:
            if key not in started:
                started.add(key)
                asyncio.create_task(warn_when_slow(key))

        ensure("worker")
        await asyncio.sleep(0)

    return body


settings: dict[str, int] = {}


async def refresh() -> None:
    while True:
        await asyncio.sleep(60)
        settings["limit"] = 2


def entry_that_the_work_renews() -> Body:
    async def body() -> int:
        if "limit" not in settings:
            settings["limit"] = 1
            asyncio.create_task(refresh())
            await asyncio.sleep(0)
        return settings["limit"]

    return body


class Reader:
    def __init__(self) -> None:
        self.task = asyncio.create_task(self.read())

    async def read(self) -> None:
        await forever()

    def ask(self) -> None: ...


reader: Reader | None = None


def what_it_belongs_to() -> Body:
    async def body() -> None:
        global reader
        if reader is None:
            reader = Reader()
            await asyncio.sleep(0)
        reader.ask()

    return body


todo = [1]


def nothing_left_to_do() -> Body:
    async def body() -> None:
        if todo:
            todo.clear()
            asyncio.create_task(forever())
        await asyncio.sleep(0)

    return body


KINDS = {"known": 1}


def table_of_constants() -> Body:
    kinds = itertools.chain(["new"], itertools.repeat("known"))

    async def body() -> None:
        if next(kinds) not in KINDS:
            asyncio.create_task(forever())
        await asyncio.sleep(0)

    return body


def lookup_that_fails() -> Body:
    async def body() -> None:
        try:
            lookups["worker"]
        except KeyError:
            lookups["worker"] = True
            asyncio.create_task(forever())
        await asyncio.sleep(0)

    return body


lookups: dict[str, bool] = {}


def once(function: Callable[[], None]) -> Callable[[], None]:
    is_done = False

    def wrapper() -> None:
        nonlocal is_done
        if not is_done:
            is_done = True
            function()

    return wrapper


@once
def start_once() -> None:
    asyncio.create_task(forever())


def own_decorator() -> Body:
    async def body() -> None:
        start_once()
        await asyncio.sleep(0)

    return body


class Lazy:
    @functools.cached_property
    def worker(self) -> "asyncio.Task[None]":
        return asyncio.create_task(forever())


lazy = Lazy()


def property_that_is_kept() -> Body:
    async def body() -> None:
        lazy.worker.get_name()
        await asyncio.sleep(0)

    return body


class Hub:
    """Nothing in it says whether it was started."""

    def start(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        self.task = asyncio.create_task(self.work())

    async def work(self) -> None:
        while True:
            await self.queue.get()

    def name(self) -> str:
        return "hub"


hubs = {"first": Hub(), "second": Hub()}
first_hub, second_hub = hubs["first"], hubs["second"]


def started_by_a_count() -> Body:
    passes = itertools.count()

    async def body() -> None:
        if next(passes) == 0:
            first_hub.start()
            await asyncio.sleep(0)
        first_hub.name()

    return body


def handed_something() -> Body:
    passes = itertools.count()

    async def body() -> None:
        if next(passes) == 0:
            second_hub.start()
            await asyncio.sleep(0)
        else:
            second_hub.queue.put_nowait("letter")

    return body


wake: asyncio.Event | None = None


def woken() -> Body:
    passes = itertools.count()

    async def wait() -> None:
        assert wake is not None
        await wake.wait()

    async def body() -> None:
        global wake
        if next(passes) == 0:
            wake = asyncio.Event()
            asyncio.create_task(wait())
            await asyncio.sleep(0)
        else:
            assert wake is not None
            wake.set()

    return body


class Pager:
    """Reads ahead where its caller says that there is more; whoever needs it reads it anyway."""

    ahead: Any = None

    async def read(self, page: int, last: int) -> None:
        if page < last:
            self.ahead = asyncio.create_task(forever())
            await asyncio.sleep(0)

    async def call(self, error: type[Exception]) -> None:
        try:
            raise error
        except LookupError:
            self.ahead = asyncio.create_task(forever())
            await asyncio.sleep(0)
        except OSError:
            pass


class Served:
    """The same start, but for a number that lasts: ended in order at the end of each call."""

    worker: Any = None

    async def serve(self) -> None:
        if self.worker is None:
            self.worker = asyncio.create_task(forever())
        await asyncio.sleep(0)
        self.worker.cancel()


pager, served = Pager(), Served()


def started_on_demand() -> Body:
    pages = itertools.count(1)
    pager.ahead = None

    async def body() -> None:
        await pager.read(next(pages), 2)

    return body


def started_after_an_error() -> Body:
    errors = iter([KeyError, OSError, OSError])
    pager.ahead = None

    async def body() -> None:
        await pager.call(next(errors))

    return body


def ended_at_each_call() -> Body:
    served.worker = None
    return served.serve


@pytest.mark.usefixtures("thawed")  # functions are found by their code, on the heap
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (started_on_demand, [("warning", "ahead")]),
        (started_after_an_error, [("warning", "ahead")]),
        (ended_at_each_call, [("error", "worker")]),
        (entry_of_a_cache, [("warning", None)]),
        (entry_that_is_only_asked, [("error", "started")]),
        (entry_that_the_work_renews, [("error", "settings")]),
        (what_it_belongs_to, [("error", "reader")]),
        (nothing_left_to_do, [("warning", None)]),
        (table_of_constants, [("warning", None)]),
        (lookup_that_fails, [("error", "lookups")]),
        (own_decorator, [("error", "is_done")]),
        (property_that_is_kept, [("error", "worker")]),
        (started_by_a_count, [("warning", "task")]),
        (handed_something, [("error", "queue")]),
        (woken, [("error", "wake")]),
    ],
)
def test_what_relies_on_it_makes_the_error(
    make: Callable[[], Body], expected: list[tuple[str, str | None]]
) -> None:
    assert judged(make()) == expected


def test_work_that_is_handed_over_is_lost_whatever_ran_before() -> None:
    """Two functions that have nothing else in common, each in a loop of its own."""
    hub = Hub()

    async def start() -> None:
        hub.start()
        await asyncio.sleep(0)

    async def send() -> None:
        hub.queue.put_nowait("letter")

    with pytest_loopsafe.watch() as report:
        asyncio.run(start())
        asyncio.run(send())
    lost = [finding for finding in report.findings if finding.code == "LS207"]
    assert [(finding.is_error, finding.loop.number) for finding in lost if finding.loop] == [
        (True, 2)
    ]


# -- what nobody asks for again --------------------------------------------------------------------


class Worker:
    """Asks the task that it keeps, and so starts another when it is called."""

    task: "asyncio.Task[None] | None" = None

    def ensure(self) -> None:
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(asyncio.sleep(60))


class Pinned(Worker):
    def ensure(self) -> None:
        if self.task is None or self.task.get_loop() is not asyncio.get_running_loop():
            self.task = asyncio.create_task(asyncio.sleep(60))


workers = types.SimpleNamespace(left=Worker(), cancelled=Worker(), pinned=Pinned())


def left_to_run() -> Body:
    passes = itertools.count()

    async def body() -> None:
        if next(passes) == 0:
            workers.left.ensure()

    return body


def cancelled_in_order() -> Body:
    passes = itertools.count()

    async def body() -> None:
        if next(passes) == 0:
            workers.cancelled.ensure()
            await asyncio.sleep(0)
            workers.cancelled.task.cancel()
            await asyncio.wait([workers.cancelled.task])

    return body


def asked_for_its_loop() -> Body:
    passes = itertools.count()

    async def body() -> None:
        if next(passes) == 0:
            workers.pinned.ensure()

    return body


def drained_by_others() -> Body:
    """Its worker is gone, and who fills the queue empties it."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    passes = itertools.count()

    async def work() -> None:
        while True:
            await queue.get()

    class Once(Worker):
        def ensure(self) -> None:
            if self.task is None or self.task.done():
                self.task = asyncio.create_task(work())

    once = Once()

    async def body() -> None:
        if next(passes) == 0:
            once.ensure()
            await asyncio.sleep(0)
        else:
            queue.put_nowait(1)
            queue.get_nowait()

    return body


class Profiler:
    """Its ticker is started and ended within one call, and what is left of it is a mark."""

    ticker: Any = None

    async def calibrate(self) -> None:
        if self.ticker is None:
            self.ticker = asyncio.create_task(forever())
            await asyncio.sleep(0)
            self.ticker.cancel()
            await asyncio.wait([self.ticker])


profilers = types.SimpleNamespace(one=Profiler())


def ended_by_who_started_it() -> Body:
    profilers.one = Profiler()

    async def body() -> None:
        await profilers.one.calibrate()

    return body


@pytest.mark.parametrize(
    "make",
    [
        left_to_run,
        cancelled_in_order,
        asked_for_its_loop,
        drained_by_others,
        ended_by_who_started_it,
    ],
)
@pytest.mark.parametrize("schedule", ["consecutive", "recycled"])
def test_what_nobody_asks_for_again_is_not_missed(make: Callable[[], Body], schedule: str) -> None:
    workers.left.task = workers.cancelled.task = workers.pinned.task = None
    assert judged(make(), schedule=schedule, loops=4) == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="only sys.monitoring tells what ran again")
def test_functions_are_followed_only_where_something_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Who uses context variables is followed too; other tests' modules have some.
    monkeypatch.setattr(ls209, "codes_with_variables", tuple)
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    tools: list[list[Any]] = []

    def held() -> None:
        tools.append([name for name in map(monitoring.get_tool, range(6)) if name])

    async def clean() -> None:
        await asyncio.sleep(0)
        held()

    async def leaves() -> None:
        asyncio.create_task(forever())
        await asyncio.sleep(0)
        held()

    before = [name for name in map(monitoring.get_tool, range(6)) if name]
    pytest_loopsafe.run(clean)
    assert tools == [before] * 3
    tools.clear()
    pytest_loopsafe.run(leaves)
    held()
    assert [len(one) - len(before) for one in tools] == [0, 1, 1, 0]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no tools")
def test_without_a_free_tool_the_bytecode_has_to_do() -> None:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    taken = [number for number in (3, 4) if monitoring.get_tool(number) is None]
    started.clear()
    workers.left.task = None
    for number in taken:
        monitoring.use_tool_id(number, "somebody else's")
    try:
        assert judged(entry_that_is_only_asked()) == [("error", "started")]
        assert judged(left_to_run()) == []
    finally:
        for number in taken:
            monitoring.free_tool_id(number)


def test_the_codes_own_variables_are_not_looked_into_where_it_has_shown_them() -> None:
    """Before 3.13 a debugger's look at a frame renews what an earlier locals() has given."""
    seen: list[Any] = []

    class Shows:
        def start(self) -> None:
            count = 1
            shown = locals()
            count += 1
            asyncio.create_task(request())
            seen.append(shown["count"])

    async def body() -> None:
        Shows().start()
        await asyncio.sleep(0)

    pytest_loopsafe.run(body)
    assert seen == [1, 1, 1]


class Timed:
    """Something with a timer that went down with the first loop."""

    def __init__(self) -> None:
        self.timer: asyncio.TimerHandle | None = None
        self.until = 0.0

    async def tidied_early(self) -> None:
        """The clock is asked: the timer is missed by nobody."""
        if time.monotonic() > self.until:
            self.until = time.monotonic() + 60
            self.timer = asyncio.get_running_loop().call_later(60, self.ring)

    async def set_once(self) -> None:
        """It is never set again."""
        if self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(60, self.ring)

    def ring(self) -> None:
        self.timer = None


@pytest.mark.parametrize(
    ("body", "errors"), [(Timed.tidied_early, set()), (Timed.set_once, {"LS207"})]
)
def test_a_lost_timer_is_an_error_where_something_waits_for_it(
    body: Callable[[Timed], Any], errors: set[str]
) -> None:
    timed = Timed()
    report = pytest_loopsafe.run(body, timed, loops=3, check=False)
    assert {one.code for one in report.errors} == errors
