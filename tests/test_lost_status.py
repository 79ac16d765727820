"""LS207: a task is ended by its loop while a status says that it runs, and the next call leaves.

Each task is called anew in each loop; from the second on the same code finds what the dead one has
left behind. It would have been set back, had the loop's end not come between.
"""

import asyncio
import contextlib
import enum
import functools
import itertools
import sys
import threading
import types
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

import pytest_loopsafe


async def forever() -> None:
    await asyncio.Event().wait()


class Phase(enum.Enum):
    IDLE = 0
    RUNNING = 1


class Service:
    def __init__(self) -> None:
        self.state: Any = "idle"
        self.home: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[Any] | None = None
        self.phase = Phase.IDLE

    async def text(self) -> None:
        if self.state == "running":
            return
        self.state = "running"
        await forever()
        self.state = "idle"

    async def member(self) -> None:
        if self.phase is Phase.RUNNING:
            return
        self.phase = Phase.RUNNING
        await forever()
        self.phase = Phase.IDLE

    async def equal_member(self) -> None:
        if self.phase == Phase.RUNNING:
            return
        self.phase = Phase.RUNNING
        await forever()
        self.phase = Phase.IDLE

    async def only_errors(self) -> None:
        if self.state == "running":
            return
        self.state = "running"
        try:
            await forever()
            self.state = "idle"
        except Exception:
            self.state = "failed"

    def set(self, state: str) -> None:
        self.state = state

    async def by_a_helper(self) -> None:
        if self.state == "running":
            return
        self.set("running")
        await forever()
        self.set("idle")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.state = "running"
        yield
        self.state = "idle"

    async def in_a_block(self) -> None:
        if self.state == "running":
            return
        async with self.running():
            await forever()

    async def _inner(self) -> None:
        self.state = "running"
        await forever()
        self.state = "idle"

    async def looks_further_out(self) -> None:
        if self.state != "running":
            await self._inner()

    async def raises(self) -> None:
        if self.state == "running":
            raise RuntimeError("it runs already")
        self.state = "running"
        await forever()
        self.state = "idle"

    # -- these mind the end ----------------------------------------------------------------------

    async def finally_(self) -> None:
        if self.state == "running":
            return
        self.state = "running"
        try:
            await forever()
        finally:
            self.state = "idle"

    async def says_cancelled(self) -> None:
        if self.state == "running":
            return
        self.state = "running"
        try:
            await forever()
            self.state = "done"
        except asyncio.CancelledError:
            self.state = "cancelled"
            raise

    async def asks_the_loop(self) -> None:
        if self.state == "running" and self.home is asyncio.get_running_loop():
            return
        self.state, self.home = "running", asyncio.get_running_loop()
        await forever()
        self.state = "idle"

    async def asks_the_task(self) -> None:
        if self.state == "running" and self.task is not None and not self.task.done():
            return
        self.state, self.task = "running", asyncio.current_task()
        await forever()
        self.state = "idle"


class Shared:
    running = False

    @classmethod
    async def work(cls) -> None:
        if cls.running:
            return
        cls.running = True
        await forever()
        cls.running = False


class InSlots:
    """It has no weak references."""

    __slots__ = ("busy",)

    def __init__(self) -> None:
        self.busy = False

    async def work(self) -> None:
        if self.busy:
            return
        self.busy = True
        await forever()
        self.busy = False

    async def minds_the_end(self) -> None:
        if self.busy:
            return
        self.busy = True
        try:
            await forever()
        finally:
            self.busy = False


async def of_another_object_each_time() -> None:
    await InSlots().work()


in_slots = InSlots()
service, other = Service(), Service()
busy, count, LIMIT = False, 0, 1
active: dict[str, bool] = {}
names: set[str] = set()
event = threading.Event()


@pytest.fixture(autouse=True)
def _begin_anew() -> Iterator[None]:
    global busy, count
    yield
    in_slots.busy = False
    service.__init__(), other.__init__()  # type: ignore[func-returns-value, misc]
    busy, count, Shared.running = False, 0, False
    runs.update(sync="idle")
    active.clear(), names.clear(), event.clear()  # type: ignore[func-returns-value]


runs: dict[str, Any] = {"sync": "idle"}


async def flag() -> None:
    global busy
    if busy:
        return
    busy = True
    await forever()
    busy = False


async def counter() -> None:
    global count
    if count >= LIMIT:
        return
    count += 1
    await forever()
    count -= 1


async def entry() -> None:
    if active.get("it"):
        return
    active["it"] = True
    await forever()
    active["it"] = False


async def member_of_a_set() -> None:
    if "it" in names:
        return
    names.add("it")
    await forever()
    names.discard("it")


async def threads_event() -> None:
    if event.is_set():
        return
    event.set()
    await forever()
    event.clear()


def _closure() -> Callable[[], Awaitable[None]]:
    on = False

    async def go() -> None:
        nonlocal on
        if on:
            return
        on = True
        await forever()
        on = False

    return go


def once_at_a_time(function: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    status = types.SimpleNamespace(on=False)

    @functools.wraps(function)
    async def inner() -> None:
        if not status.on:
            status.on = True
            await function()
            status.on = False

    return inner


async def entry_of_a_name() -> None:
    if runs["sync"] == "running":
        return
    runs["sync"] = "running"
    await forever()
    runs["sync"] = "idle"


async def entry_of_any_name(name: str = "sync") -> None:
    if runs.get(name) == "running":
        return
    runs[name] = "running"
    await forever()
    runs[name] = "idle"


async def entry_that_is_a_member(name: str = "sync") -> None:
    if runs[name] is not True:
        runs[name] = True
        await forever()
        runs[name] = False


closure, decorated = _closure(), once_at_a_time(forever)

BROKEN: dict[Callable[[], Any], str] = {
    in_slots.work: "in_slots.busy",
    service.text: "service.state",
    service.member: "service.phase",
    service.equal_member: "service.phase",
    service.only_errors: "service.state",
    service.by_a_helper: "service.state",
    service.in_a_block: "service.state",
    service.looks_further_out: "service.state",
    service.raises: "service.state",
    Shared.work: "Shared.running",
    flag: "busy",
    counter: "count",
    entry: "active",
    entry_of_a_name: "runs",
    member_of_a_set: "names",
    threads_event: "event",
    closure: "on",
    decorated: "status.on",
}


def left(work: Callable[[], Any]) -> Callable[[], Awaitable[None]]:
    async def body() -> None:
        tasks.append(asyncio.ensure_future(work()))
        await asyncio.sleep(0)
        await asyncio.wait(tasks[-1:], timeout=0)

    tasks: list[asyncio.Future[None]] = []
    return body


def lost(report: Any) -> list[Any]:
    return [one for one in report.findings if one.code == "LS207"]


@pytest.mark.usefixtures("thawed")  # functions are found by their code, on the heap
@pytest.mark.parametrize(
    ("work", "what"), BROKEN.items(), ids=lambda one: getattr(one, "__qualname__", one)
)
def test_what_a_dead_task_did_not_set_back_is_named(work: Callable[[], Any], what: str) -> None:
    report = pytest_loopsafe.run(left(work), check=False)

    (found,) = lost(report)
    assert found.is_error
    assert found.owner is not None
    assert found.owner.endswith(what)
    assert "left early in loop 3" in found.message
    assert "finally" in found.remedy


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize("work", [entry_of_any_name, entry_that_is_a_member])
def test_which_entry_it_is_may_not_be_known(work: Callable[[], Any]) -> None:
    (found,) = lost(pytest_loopsafe.run(left(work), check=False))
    assert (str(found.severity), found.owner) == ("warning", f"{__name__}.runs")


class Limiter:
    """Whoever is told to slow down starts a pause, and nobody sends while it lasts."""

    def __init__(self) -> None:
        self.paused = False
        self.go = threading.Event()
        self.go.set()

    async def pause(self) -> None:
        self.paused = True
        self.go.clear()
        await forever()
        self.paused = False
        self.go.set()

    async def pause_in_order(self) -> None:
        self.paused = True
        try:
            await forever()
        finally:
            self.paused = False

    async def by_flag(self, slow: bool) -> None:
        if not self.paused:
            await self.send(self.pause if slow else None)

    async def by_event(self, slow: bool) -> None:
        if not self.go.is_set():
            return
        await self.send(self.pause if slow else None)

    async def in_order(self, slow: bool) -> None:
        if not self.paused:
            await self.send(self.pause_in_order if slow else None)

    async def send(self, pause: Callable[[], Any] | None) -> None:
        if pause is not None:
            asyncio.get_running_loop().create_task(pause())
            await asyncio.sleep(0)


limiter = Limiter()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="only sys.monitoring tells what ran again")
@pytest.mark.parametrize(
    ("send", "what"),
    [(Limiter.by_flag, ["paused"]), (Limiter.by_event, ["go"]), (Limiter.in_order, [])],
)
def test_who_had_started_it_is_barred_too(send: Any, what: list[str]) -> None:
    vars(limiter).update(vars(Limiter()))
    passes = itertools.count()

    async def body() -> None:
        await send(limiter, next(passes) == 0)

    report = pytest_loopsafe.run(body, check=False)
    errors = [one for one in lost(report) if one.is_error]
    assert [one.owner for one in errors] == [f"{__name__}.limiter.{name}" for name in what]
    assert all("never set back" in one.message for one in errors)


@pytest.mark.parametrize("schedule", ["recycled", "threads"])
def test_it_is_the_same_under_other_schedules(schedule: str) -> None:
    report = pytest_loopsafe.run(left(service.text), check=False, schedule=schedule)
    assert [one.is_error for one in lost(report)] == [True]


def test_nobody_is_barred_where_one_loop_goes_on() -> None:
    report = pytest_loopsafe.run(left(service.text), check=False, schedule="persistent")
    assert lost(report) == []


@pytest.mark.parametrize(
    "work",
    [
        service.finally_,
        service.says_cancelled,
        service.asks_the_loop,
        service.asks_the_task,
        in_slots.minds_the_end,
        of_another_object_each_time,
    ],
    ids=lambda one: one.__name__,
)
def test_who_minds_the_loops_end_is_left_alone(work: Callable[[], Any]) -> None:
    assert lost(pytest_loopsafe.run(left(work))) == []


async def another_entry() -> None:
    """Entries say how others fared, which bars nobody here."""
    if runs.get("sync") == "failed":
        return
    runs["sync"] = "running"
    await forever()
    runs["sync"] = "idle"


per_loop: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


async def of_its_loop() -> None:
    loop = asyncio.get_running_loop()
    if per_loop.get(loop) == "running":
        return
    per_loop[loop] = "running"
    await forever()
    per_loop[loop] = "idle"


async def in_order() -> None:
    """Whoever ends it says so, too."""
    task = asyncio.create_task(service.text())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    service.state = "idle"


async def set_anew_by_who_comes() -> None:
    service.state = "idle"
    await service.text()


async def once_for_all() -> None:
    """It was finished in the first loop, and later ones have nothing to do."""
    if service.state != "new":
        return
    service.state = "connecting"
    await asyncio.sleep(0)
    service.state = "ready"


async def told_but_never_asked() -> None:
    active["it"] = True
    await forever()
    active["it"] = False


@pytest.mark.parametrize(
    "work",
    [
        of_its_loop,
        another_entry,
        in_order,
        set_anew_by_who_comes,
        once_for_all,
        told_but_never_asked,
    ],
)
def test_what_bars_nobody_is_left_alone(work: Callable[[], Any]) -> None:
    service.state = "new"
    assert lost(pytest_loopsafe.run(left(work))) == []


def test_another_object_is_not_barred() -> None:
    numbers = itertools.count()

    async def body() -> None:
        own = service if next(numbers) == 0 else other
        task = asyncio.create_task(own.text())
        await asyncio.sleep(0)
        if own is other:
            task.cancel()
            await asyncio.wait([task])
            own.state = "idle"

    assert lost(pytest_loopsafe.run(body)) == []


async def of_a_key(key: str, work: Callable[[], Awaitable[None]]) -> None:
    if key in names:
        return
    names.add(key)
    await work()
    names.discard(key)


def test_it_is_a_warning_where_another_entry_may_have_been_asked_for() -> None:
    numbers = itertools.count()

    async def body() -> None:
        number = next(numbers)
        task = asyncio.create_task(of_a_key(str(number), functools.partial(asyncio.sleep, 0)))
        if number == 0:
            asyncio.create_task(of_a_key("first", forever))
        await task

    (found,) = lost(pytest_loopsafe.run(body))
    assert not found.is_error


def test_it_is_a_warning_where_another_closure_may_have_been_called() -> None:
    first, second = _closure(), _closure()
    numbers = itertools.count()

    async def body() -> None:
        work = first if next(numbers) == 0 else second
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        if work is second:
            task.cancel()
            await asyncio.wait([task])

    found = lost(pytest_loopsafe.run(body))
    assert [one.is_error for one in found] == [False]
