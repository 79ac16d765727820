"""LS207: a timer that went down with its loop, and that something still waits for.

It would have taken back what keeps the next one from being set: in each case nothing happens from
the second loop on. Their twins ask the clock, tidy up, or set another one.
"""

import asyncio
import contextlib
import functools
import itertools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import pytest_loopsafe

LATE = 60


def errors_of(body: Callable[[], Any], **settings: Any) -> list[str | None]:
    report = pytest_loopsafe.run(body, check=False, **settings)
    assert [one.error for one in report.passes if one.error is not None] == []
    assert not [note for note in report.notes if "failed" in note]
    return [one.owner for one in report.errors]


class Horn:
    """Blows, and then not again for a while."""

    def __init__(self) -> None:
        self.busy = False
        self.handle: Any = None
        self.queue: list[int] = []

    def by_method(self) -> None:
        if not self.busy:
            self.busy = True
            asyncio.get_running_loop().call_later(LATE, self.reset)

    def by_other_method(self) -> None:
        if not self.busy:
            self.busy = True
            asyncio.get_running_loop().call_later(LATE, self.ring)

    def by_partial(self) -> None:
        if not self.busy:
            self.busy = True
            asyncio.get_running_loop().call_later(LATE, functools.partial(self.reset, 1))

    def by_lambda(self) -> None:
        if not self.busy:
            self.busy = True
            loop = asyncio.get_running_loop()
            loop.call_at(loop.time() + LATE, lambda: setattr(self, "busy", False))

    def by_task(self) -> None:
        if not self.busy:
            self.busy = True
            loop = asyncio.get_running_loop()
            loop.call_later(LATE, lambda: loop.create_task(self.rest()))

    def by_handle(self) -> None:
        if self.handle is None:
            self.handle = asyncio.get_running_loop().call_later(LATE, self.reset)

    def by_queue(self) -> None:
        self.queue.append(1)
        if len(self.queue) == 1:
            asyncio.get_running_loop().call_later(LATE, self.dispatch)

    def by_empty_queue(self) -> None:
        is_first = not self.queue
        self.queue.append(1)
        if is_first:
            asyncio.get_running_loop().call_later(LATE, self.dispatch)

    def by_error(self) -> None:
        if self.busy:
            return
        try:
            raise OSError
        except OSError:
            self.trip()

    def by_error_that_goes_on(self) -> None:
        if self.busy:
            return
        with contextlib.suppress(OSError):
            try:
                raise OSError
            except OSError:
                self.busy = True
                asyncio.get_running_loop().call_later(LATE, self.reset)
                raise

    def trip(self) -> None:
        self.busy = True
        asyncio.get_running_loop().call_later(LATE, self.reset)

    def ring(self) -> None:
        self.reset()

    async def rest(self) -> None:
        self.busy = False

    def reset(self, *_: Any) -> None:
        self.busy, self.handle = False, None

    def dispatch(self) -> None:
        self.queue.clear()


horn = Horn()
quiet = threading.Event()
turn = asyncio.Lock()
cooling: set[str] = set()
answers: dict[str, int] = {}


def by_event() -> None:
    if quiet.is_set():
        return
    quiet.set()
    asyncio.get_running_loop().call_later(LATE, quiet.clear)


def by_member() -> None:
    if "key" in cooling:
        return
    cooling.add("key")
    asyncio.get_running_loop().call_later(LATE, cooling.discard, "key")


def entry_that_never_expires() -> int:
    if "key" in answers:
        return answers["key"]
    answers["key"] = 1
    asyncio.get_running_loop().call_later(LATE, answers.pop, "key", None)
    return 1


def entry_that_is_deleted_by_a_function() -> int:
    if "key" in answers:
        return answers["key"]
    answers["key"] = 1
    asyncio.get_running_loop().call_later(LATE, drop, "key")
    return 1


def entry_that_is_deleted_by_what_a_function_calls() -> int:
    if "key" in answers:
        return answers["key"]
    answers["key"] = 1
    asyncio.get_running_loop().call_later(LATE, expire, "key")
    return 1


def expire(key: str) -> None:
    drop(key)


def drop(key: str) -> None:
    del answers[key]


async def lock_that_is_given_back_later() -> None:
    if turn.locked():
        return
    await turn.acquire()
    asyncio.get_running_loop().call_later(LATE, turn.release)


LOST: list[tuple[Callable[[], Any], str]] = [
    (horn.by_method, "horn.busy"),
    (horn.by_other_method, "horn.busy"),
    (horn.by_partial, "horn.busy"),
    (horn.by_lambda, "horn.busy"),
    (horn.by_task, "horn.busy"),
    (horn.by_error, "horn.busy"),
    (horn.by_error_that_goes_on, "horn.busy"),
    (horn.by_handle, "horn.handle"),
    (horn.by_queue, "horn.queue"),
    (horn.by_empty_queue, "horn.queue"),
    (by_event, "quiet"),
    (by_member, "cooling"),
    (entry_that_never_expires, "answers"),
    (entry_that_is_deleted_by_a_function, "answers"),
    (entry_that_is_deleted_by_what_a_function_calls, "answers"),
    (lock_that_is_given_back_later, "turn"),
]


@pytest.fixture(autouse=True)
def at_rest() -> None:
    global turn
    horn.__init__()  # type: ignore[misc]
    quiet.clear()
    cooling.clear()
    answers.clear()
    turn = asyncio.Lock()


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize(("act", "what"), LOST, ids=lambda one: getattr(one, "__name__", ""))
@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads"])
def test_what_waits_for_it_is_named(act: Callable[[], Any], what: str, schedule: str) -> None:
    async def body() -> None:
        result = act()
        if result is not None and not isinstance(result, int):
            await result

    assert errors_of(body, schedule=schedule) == [f"{__name__}.{what}"]


horns = {"first": Horn(), "second": Horn()}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there it is not known for whom it ran")
def test_an_object_among_others_counts_where_it_was_called_again() -> None:
    async def body() -> None:
        horns["first"].by_method()

    assert errors_of(body) == [f"{__name__}.horns['first'].busy"]


def test_one_among_others_that_nobody_calls_again_is_not_missed() -> None:
    passes = itertools.count()

    async def body() -> None:
        horns["second" if next(passes) == 0 else "third"].by_method()

    horns["third"] = Horn()
    horns["third"].busy = True
    assert errors_of(body) == []


# -- what nobody waits for -------------------------------------------------------------------------


class Desk:
    """What it does with timers is in order."""

    def __init__(self) -> None:
        self.told = self.busy = False
        self.timer: Any = None
        self.entry: tuple[int, float] | None = None
        self.until = 0.0
        self.passes = itertools.count()

    def tells_once(self) -> None:
        if not self.told:
            self.told = True
            asyncio.get_running_loop().call_later(LATE, self.tell)

    def tell(self) -> None:
        print(self.told)

    def asks_the_clock(self) -> int:
        entry = self.entry
        if entry is not None and entry[1] > time.monotonic():
            return entry[0]
        self.entry = 1, time.monotonic() + LATE
        asyncio.get_running_loop().call_later(LATE, self.forget)
        return 1

    def asks_a_method(self) -> int:
        if self.entry is not None and self.is_fresh():
            return self.entry[0]
        self.entry, self.until = (1, 0.0), time.monotonic() + LATE
        asyncio.get_running_loop().call_later(LATE, self.forget)
        return 1

    def is_fresh(self) -> bool:
        return time.monotonic() < self.until

    def forget(self) -> None:
        self.entry = None

    def stops_in_order(self) -> None:
        if not self.busy:
            self.busy = True
            self.timer = asyncio.get_running_loop().call_later(LATE, self.reset)
        self.timer.cancel()
        self.reset()

    def reset(self) -> None:
        self.busy = False

    def begins_anew(self) -> None:
        self.reset()
        if not self.busy:
            self.busy = True
            asyncio.get_running_loop().call_later(LATE, self.reset)

    def first_run_alone(self) -> None:
        if next(self.passes) == 0:
            asyncio.get_running_loop().call_later(LATE, self.reset)

    def warns_where_it_takes_long(self) -> int:
        if self.entry is None:
            asyncio.get_running_loop().call_later(LATE, print, "slow")
            self.entry = 1, 0.0
        return self.entry[0]

    def has_a_limit_of_its_own(self) -> None:
        events: set[int] = set()
        events.add(1)
        asyncio.get_running_loop().call_later(LATE, events.discard, 1)


SAFE = [
    Desk.tells_once,
    Desk.asks_the_clock,
    Desk.asks_a_method,
    Desk.stops_in_order,
    Desk.begins_anew,
    Desk.first_run_alone,
    Desk.warns_where_it_takes_long,
    Desk.has_a_limit_of_its_own,
]
desk = Desk()


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize("act", SAFE, ids=lambda one: one.__name__)
@pytest.mark.parametrize("schedule", ["consecutive", "recycled"])
def test_what_nobody_waits_for_is_no_error(act: Callable[[Desk], Any], schedule: str) -> None:
    desk.__init__()  # type: ignore[misc]

    async def body() -> None:
        act(desk)

    assert errors_of(body, schedule=schedule) == []
