"""LS208: a lock is replaced where another was seen in its place, still held or waited on."""

import asyncio
import collections
import contextlib
import contextvars
import functools
import itertools
import threading
import types
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

import pytest_loopsafe

lock: Any = None
locks: dict[str, asyncio.Lock] = {}
pair: list[Any] = [None, None]


class Box:
    lock: Any = None
    locks: dict[str, asyncio.Lock]


box: Any = None


@pytest.fixture(autouse=True)
def _begin_anew() -> Iterator[None]:
    global lock, box
    box = Box()
    box.locks = {}
    yield
    lock = box = None
    locks.clear()


async def hold(gate: Any) -> None:
    async with gate:
        await asyncio.sleep(0)


def made() -> asyncio.Lock:
    return asyncio.Lock()


async def in_a_global() -> None:
    global lock
    lock = asyncio.Lock()
    early = asyncio.create_task(hold(lock))
    await asyncio.sleep(0)
    lock = asyncio.Lock()
    await hold(lock)
    await early


async def by_a_factory() -> None:
    global lock
    lock = made()
    early = asyncio.create_task(hold(lock))
    await asyncio.sleep(0)
    lock = made()
    await hold(lock)
    await early


async def use_of_box(renew: bool) -> None:
    if renew:
        box.lock = asyncio.Lock()
    await hold(box.lock)


class Renewing:
    def __init__(self) -> None:
        self.gate: asyncio.Lock | None = None

    async def work(self) -> None:
        self.gate = None
        self.gate = asyncio.Lock()
        await hold(self.gate)


async def in_an_attribute() -> None:
    worker = Renewing()
    await asyncio.gather(worker.work(), worker.work())


async def under_a_key(key: str = "a") -> None:
    locks[key] = asyncio.Lock()
    await hold(locks[key])


async def under_one_key() -> None:
    await asyncio.gather(under_a_key(), under_a_key())


async def waited_on_only() -> None:
    global lock
    lock = asyncio.Condition()

    async def wait(condition: asyncio.Condition) -> None:
        async with condition:
            await condition.wait()

    early = asyncio.create_task(wait(lock))
    await asyncio.sleep(0)
    lock = asyncio.Condition()
    async with lock:
        pass
    early.cancel()
    await asyncio.wait([early])


async def popped_and_made_anew() -> None:
    """Who comes while the first is inside finds no entry, and makes one."""

    async def work() -> None:
        gate = locks.setdefault("a", asyncio.Lock())
        async with gate:
            locks.pop("a", None)
            await asyncio.sleep(0)

    await asyncio.gather(work(), work())


class InSlots:
    __slots__ = ("__weakref__", "lock")

    def renewed(self) -> asyncio.Lock:
        self.lock = asyncio.Lock()
        return self.lock

    async def work(self) -> None:
        await hold(self.renewed())


class Large(InSlots):
    """Of a size that little else has, so that the next one is put where one was."""

    __slots__ = tuple(f"_{n}" for n in range(40))


async def in_a_slot() -> None:
    worker = InSlots()
    await asyncio.gather(worker.work(), worker.work())


def renewed_in_box() -> asyncio.Lock:
    box.lock = asyncio.Lock()
    return box.lock  # type: ignore[no-any-return]


async def of_a_global_object() -> None:
    await asyncio.gather(*(hold(renewed_in_box()) for _ in range(2)))


async def of_an_objects_part() -> None:
    class Part:
        def __init__(self) -> None:
            self.box = Box()

        async def work(self) -> None:
            self.box.lock = asyncio.Lock()
            await hold(self.box.lock)

    one = Part()
    await asyncio.gather(one.work(), one.work())


async def under_an_index() -> None:
    async def work() -> None:
        pair[1] = asyncio.Lock()
        await hold(pair[1])

    await asyncio.gather(work(), work())


async def in_a_tuple() -> None:
    async def work(number: int) -> None:
        box.lock = number, asyncio.Lock()
        await hold(box.lock[1])

    await asyncio.gather(work(1), work(2))


def around(one: Any = None) -> Callable[[], asyncio.Lock]:
    def renewed() -> asyncio.Lock:
        nonlocal one
        one = asyncio.Lock()
        return one

    return renewed


async def use_of(renewed: Callable[[], asyncio.Lock]) -> None:
    await hold(renewed())


async def in_a_cell() -> None:
    renewed = around()
    await asyncio.gather(use_of(renewed), use_of(renewed))


async def in_a_cell_by_a_task() -> None:
    async def work() -> None:
        nonlocal one
        one = asyncio.Lock()
        await hold(one)

    one: Any = None
    await asyncio.gather(work(), work())


async def in_an_attribute_of_what_is_in_a_cell() -> None:
    async def work() -> None:
        one.lock = asyncio.Lock()
        await hold(one.lock)

    one = Box()
    await asyncio.gather(work(), work())


async def in_a_cell_of_an_objects_function() -> None:
    class Using:
        def __init__(self) -> None:
            self.renewed = around()

        async def work(self) -> None:
            await hold(self.renewed())

    one = Using()
    await asyncio.gather(one.work(), one.work())


BROKEN = (
    in_a_global,
    in_a_cell,
    in_a_cell_by_a_task,
    in_an_attribute_of_what_is_in_a_cell,
    in_a_cell_of_an_objects_function,
    in_a_slot,
    of_a_global_object,
    of_an_objects_part,
    under_an_index,
    in_a_tuple,
    by_a_factory,
    in_an_attribute,
    under_one_key,
    waited_on_only,
    popped_and_made_anew,
)


async def a_local_one_of_the_same_factory() -> None:
    global lock
    once = made()
    async with once:
        lock = made()
        await hold(lock)


async def each_object_its_own() -> None:
    workers = [Renewing(), Renewing()]
    await asyncio.gather(*(worker.work() for worker in workers))


async def under_two_keys() -> None:
    await asyncio.gather(under_a_key("a"), under_a_key("b"))


async def after_it_was_released() -> None:
    global lock
    lock = asyncio.Lock()
    await hold(lock)
    lock = asyncio.Lock()
    await hold(lock)


async def one_for_each_call() -> None:
    async def call() -> None:
        own = asyncio.Lock()
        await hold(own)

    await asyncio.gather(call(), call(), call())


async def each_object_its_own_slot() -> None:
    workers = [InSlots(), InSlots()]
    await asyncio.gather(*(worker.work() for worker in workers))


async def each_object_its_own_at_one_address() -> None:
    """The one is gone while its lock is held, and the next is where it was."""

    async def work() -> None:
        workers = [Large() for _ in range(200)]
        worker = next((one for one in workers if id(one) in addresses), workers[0])
        addresses.add(id(worker))
        async with worker.renewed():
            gates.append(worker.lock)
            del worker, workers
            await asyncio.sleep(0)

    gates: list[asyncio.Lock] = []
    addresses: set[int] = set()
    await asyncio.gather(work(), work(), work())
    assert len(addresses) == 1


async def each_global_object_its_own() -> None:
    global box
    early = asyncio.create_task(hold(renewed_in_box()))
    await asyncio.sleep(0)
    earlier, box = box, Box()
    await hold(renewed_in_box())
    await early
    assert earlier.lock is not box.lock


async def under_two_indices() -> None:
    async def work(index: int) -> None:
        pair[index] = asyncio.Lock()
        await hold(pair[index])

    await asyncio.gather(work(0), work(1))


async def moved_to_another_index() -> None:
    """The last ones are kept, the newest before the others."""

    async def work() -> None:
        box.lock = asyncio.Lock(), *(box.lock or ())
        await hold(box.lock[0])

    await asyncio.gather(work(), work())


async def taken_out_of_a_list() -> None:
    """It is added to and taken from: who is first there now takes nobody's place."""
    idle: list[asyncio.Lock] = []

    async def work() -> None:
        idle.append(asyncio.Lock())
        gate = idle[0]
        async with gate:
            idle.pop(0)
            await asyncio.sleep(0)

    await asyncio.gather(work(), work())


async def each_closure_its_own() -> None:
    await asyncio.gather(*(use_of(around()) for _ in range(3)))


async def each_closure_its_own_of_two_at_hand() -> None:
    one, other = around(), around()

    async def work(number: int) -> None:
        first, second = one, other
        kept.append(first() if number == 1 else second())
        await hold(kept[-1])

    kept: list[asyncio.Lock] = []
    await asyncio.gather(work(1), work(2))


CORRECT = (
    each_closure_its_own,
    each_closure_its_own_of_two_at_hand,
    each_object_its_own_slot,
    each_object_its_own_at_one_address,
    each_global_object_its_own,
    under_two_indices,
    moved_to_another_index,
    taken_out_of_a_list,
    a_local_one_of_the_same_factory,
    each_object_its_own,
    under_two_keys,
    after_it_was_released,
    one_for_each_call,
)


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: body.__name__)
def test_a_replaced_lock_is_found(body: Callable[[], Awaitable[None]]) -> None:
    report = pytest_loopsafe.run(body, loops=1, check=False)
    assert [(one.code, str(one.severity)) for one in report.findings] == [("LS208", "error")]


@pytest.mark.parametrize("body", CORRECT, ids=lambda body: body.__name__)
def test_a_lock_that_takes_nobodys_place_is_none(body: Callable[[], Awaitable[None]]) -> None:
    report = pytest_loopsafe.run(body, loops=2)
    assert report.findings == ()


def test_another_limit_for_later_calls_is_only_a_warning() -> None:
    class Calls:
        def __init__(self) -> None:
            self.set(1)

        def set(self, number: int) -> None:
            self.slots = asyncio.Semaphore(number)

        async def call(self, answered: asyncio.Event) -> None:
            async with self.slots:
                await answered.wait()

    async def body() -> None:
        calls, answered = Calls(), asyncio.Event()
        early = asyncio.create_task(calls.call(answered))
        await asyncio.sleep(0)
        calls.set(4)
        asyncio.get_running_loop().call_soon(answered.set)
        await asyncio.gather(early, calls.call(answered))

    report = pytest_loopsafe.run(body, loops=1)
    assert [(one.code, str(one.severity)) for one in report.findings] == [("LS208", "warning")]


# -- made anew at every access ---------------------------------------------------------------------


async def three(work: Callable[..., Awaitable[Any]], *given: Any) -> None:
    await asyncio.gather(*(work(*given) for _ in range(3)))


async def pause() -> None:
    await asyncio.sleep(0.001)


def limit() -> asyncio.Semaphore:
    return asyncio.Semaphore(2)


def bounded() -> asyncio.BoundedSemaphore:
    return asyncio.BoundedSemaphore(2)


async def awaited_limit() -> asyncio.Semaphore:
    await pause()
    return limit()


class Limits:
    """They all give a new one."""

    @property
    def lock(self) -> asyncio.Lock:
        return self._made()

    @staticmethod
    def _made() -> asyncio.Lock:
        return asyncio.Lock()

    @property
    def condition(self) -> asyncio.Condition:
        return asyncio.Condition()

    def __getattr__(self, name: str) -> Any:
        return asyncio.Lock()


class Sized(asyncio.Semaphore):
    def __init__(self) -> None:
        super().__init__(1)


limits = Limits()
cells: list[Any] = [None]
local = threading.local()


class Slotted:
    __slots__ = ("__weakref__", "lock")

    def renewed(self) -> asyncio.Lock:
        self.lock = asyncio.Lock()
        return self.lock


slotted = Slotted()


async def of_a_property() -> None:
    async with limits.lock:
        await pause()


async def taken_and_given_back() -> None:
    lock = limits.lock
    await lock.acquire()
    try:
        await pause()
    finally:
        lock.release()


async def of_a_property_a_condition() -> None:
    async with limits.condition:
        await pause()


async def of_getattr() -> None:
    async with limits.anything:
        await pause()


async def of_a_factory() -> None:
    async with limit():
        await pause()


async def of_a_bounded_one() -> None:
    async with bounded():
        await pause()


async def of_a_class_of_ones_own() -> None:
    async with Sized():
        await pause()


async def of_a_coroutine() -> None:
    slots = await awaited_limit()
    async with slots:
        await pause()


async def in_place() -> None:
    async with asyncio.Lock():
        await pause()


@contextlib.asynccontextmanager
async def limited() -> AsyncIterator[None]:
    async with asyncio.Semaphore(1):
        yield


async def of_a_context_manager() -> None:
    async with limited():
        await pause()


async def of_setdefault_without_its_answer() -> None:
    own = asyncio.Lock()
    locks.setdefault("a", own)
    async with own:
        await pause()


def _closure() -> Callable[[], asyncio.Lock]:
    last = None

    def renewed() -> asyncio.Lock:
        nonlocal last
        last = asyncio.Lock()
        return last

    return renewed


renewed_cell = _closure()


def renewed_attribute() -> asyncio.Lock:
    setattr(box, "lock", asyncio.Lock())
    return box.lock  # type: ignore[no-any-return]


def renewed_entry() -> asyncio.Lock:
    cells[0] = asyncio.Lock()
    return cells[0]


def renewed_of_thread() -> asyncio.Lock:
    local.lock = asyncio.Lock()
    return local.lock


UNSHARED: tuple[Callable[[], Awaitable[None]], ...] = (
    of_a_property,
    taken_and_given_back,
    of_a_property_a_condition,
    of_getattr,
    of_a_factory,
    of_a_bounded_one,
    of_a_class_of_ones_own,
    of_a_coroutine,
    in_place,
    of_a_context_manager,
    of_setdefault_without_its_answer,
)
RENEWED = (
    renewed_cell,
    renewed_attribute,
    renewed_entry,
    renewed_of_thread,
    slotted.renewed,
)


@pytest.mark.parametrize("schedule", ["consecutive", "threads"])
@pytest.mark.parametrize("work", UNSHARED, ids=lambda work: work.__name__)
def test_one_that_is_made_at_every_access_is_found(
    work: Callable[[], Awaitable[None]], schedule: str
) -> None:
    report = pytest_loopsafe.run(functools.partial(three, work), check=False, schedule=schedule)
    assert {(one.code, str(one.severity)) for one in report.findings} == {("LS208", "error")}


@pytest.mark.parametrize("renew", RENEWED, ids=lambda renew: renew.__qualname__)
def test_one_that_is_put_in_the_place_of_another_is_found(
    renew: Callable[[], asyncio.Lock],
) -> None:
    async def body() -> None:
        await asyncio.gather(*(hold(renew()) for _ in range(3)))

    report = pytest_loopsafe.run(body, check=False)
    assert {(one.code, str(one.severity)) for one in report.findings} == {("LS208", "error")}


def test_it_is_said_whose_property_it_is() -> None:
    report = pytest_loopsafe.run(functools.partial(three, of_a_property), check=False)
    assert {one.owner for one in report.findings} == {f"{__name__}.limits"}


def test_one_in_a_variable_may_be_for_nothing() -> None:
    async def work() -> None:
        slots = asyncio.Semaphore(2)
        async with slots:
            await pause()

    report = pytest_loopsafe.run(functools.partial(three, work))
    assert {(one.code, str(one.severity)) for one in report.findings} == {("LS208", "warning")}


table: dict[str, Any] = {}
plain = types.SimpleNamespace()


async def of_a_table_that_nobody_fills() -> None:
    async with table.get("lock", asyncio.Lock()):
        await pause()


async def of_an_attribute_that_nobody_sets() -> None:
    lock = getattr(plain, "lock", asyncio.Lock())
    async with lock:
        await pause()


async def of_a_table_that_is_filled() -> None:
    table["lock"] = lock = table.get("lock", asyncio.Lock())
    try:
        async with lock:
            await pause()
    finally:
        table.clear()


@pytest.mark.parametrize(
    ("work", "codes"),
    [
        (of_a_table_that_nobody_fills, [("LS208", "warning")]),
        (of_an_attribute_that_nobody_sets, [("LS208", "warning")]),
        (of_a_table_that_is_filled, []),
    ],
)
def test_one_for_where_there_is_none_is_a_warning(
    work: Callable[[], Awaitable[None]], codes: list[tuple[str, str]]
) -> None:
    """It may be the caller's to give one; but those who did not give any keep nobody out."""
    report = pytest_loopsafe.run(functools.partial(three, work))
    assert [(one.code, str(one.severity)) for one in report.findings] == codes


def test_another_limit_for_each_is_a_warning() -> None:
    numbers = itertools.count(1)

    async def work() -> None:
        async with asyncio.Semaphore(next(numbers)):
            await pause()

    report = pytest_loopsafe.run(functools.partial(three, work))
    assert {(one.code, str(one.severity)) for one in report.findings} == {("LS208", "warning")}


async def enter(lock: Any) -> None:
    async with lock:
        await pause()


async def given(lock: Any = None) -> None:
    lock = lock or asyncio.Lock()
    await enter(lock)


async def given_or_new(lock: Any = None) -> None:
    if lock is None:
        lock = asyncio.Lock()
    async with lock:
        await pause()


async def given_in_place(lock: Any = None) -> None:
    async with lock or asyncio.Lock():
        await pause()


def given_to_factory(lock: Any = None) -> Any:
    if lock is not None:
        return lock
    return asyncio.Lock()


async def given_further_in(lock: Any = None) -> None:
    async with given_to_factory(lock):
        await pause()


async def handed_on() -> None:
    await enter(asyncio.Lock())


async def shared_now_and_then(beats: bool = False) -> None:
    lock = asyncio.Lock()
    if beats:
        await asyncio.create_task(enter(lock))
    async with lock:
        await pause()


async def again_and_again() -> None:
    lock = asyncio.Lock()
    for _ in range(2):
        async with lock:
            await pause()


async def put_somewhere_later() -> None:
    lock = asyncio.Lock()
    async with lock:
        await pause()
    Box().lock = lock


async def for_its_parts() -> None:
    slots = asyncio.Semaphore(2)

    async def part() -> None:
        async with slots:
            await pause()

    await asyncio.gather(*(part() for _ in range(1)))


async def in_the_context() -> None:
    current.set(asyncio.Lock())
    async with current.get():
        await pause()


async def in_an_object() -> None:
    class Connection:
        def __init__(self) -> None:
            self.lock = asyncio.Lock()

    connection = Connection()
    async with connection.lock:
        await pause()


weakly: weakref.WeakValueDictionary[object, asyncio.Lock] = weakref.WeakValueDictionary()
current: contextvars.ContextVar[asyncio.Lock] = contextvars.ContextVar("current")


async def under_a_weak_key() -> None:
    key = object()
    lock = weakly.get(key)
    if lock is None:
        lock = weakly[key] = asyncio.Lock()
    async with lock:
        await pause()


async def of_a_defaultdict() -> None:
    own, key = collections.defaultdict[object, asyncio.Lock](asyncio.Lock), object()
    lock = own[key]
    own.clear()
    async with lock:
        await pause()


async def one_within_the_other(depth: int = 2) -> None:
    async with asyncio.Lock():
        await (one_within_the_other(depth - 1) if depth else pause())


@pytest.mark.parametrize(
    "work",
    [
        given,
        given_or_new,
        given_in_place,
        given_further_in,
        handed_on,
        shared_now_and_then,
        again_and_again,
        put_somewhere_later,
        for_its_parts,
        in_the_context,
        in_an_object,
        under_a_weak_key,
        of_a_defaultdict,
    ],
)
@pytest.mark.parametrize("schedule", ["consecutive", "threads", "persistent"])
def test_one_that_others_may_share_is_none(
    work: Callable[[], Awaitable[None]], schedule: str
) -> None:
    report = pytest_loopsafe.run(functools.partial(three, work), schedule=schedule)
    assert report.findings == ()


def test_one_task_is_not_kept_apart_from_itself() -> None:
    assert pytest_loopsafe.run(one_within_the_other).findings == ()


def test_two_loops_have_one_each() -> None:
    report = pytest_loopsafe.run(in_place, schedule="concurrent")
    assert report.findings == ()
