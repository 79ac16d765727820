"""LS205: two loops that live at the same time take one slot from each other, turn by turn."""

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from types import CodeType
from typing import Any

import pytest
import redis.asyncio

import pytest_loopsafe
from pytest_loopsafe._bytecode import Body

Work = Callable[[], Awaitable[Any]]


def in_turn(body: Work, rounds: int = 2) -> Callable[[], None]:
    """Two threads with a loop each, of which one waits while the other is at it."""

    def call() -> None:
        turn, now, errors = threading.Condition(), [0], list[BaseException]()

        async def main(own: int) -> None:
            for _ in range(rounds):
                with turn:
                    turn.wait_for(lambda: now[0] % 2 == own)
                try:
                    await body()
                finally:
                    with turn:
                        now[0] += 1
                        turn.notify_all()

        def run(own: int) -> None:
            try:
                asyncio.run(main(own))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(own,)) for own in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []

    return call


class Client:
    """One of nobody's: it has a lock, so it belongs to a loop."""

    def __init__(self) -> None:
        self.home = asyncio.get_running_loop()
        self.lock = asyncio.Lock()

    async def aclose(self) -> None:
        async with self.lock:
            await asyncio.sleep(0)


client: Any = None
home: Any = None
lock: Any = None
latest: Any = None
state: dict[str, Any] = {}
per_loop: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
per_thread = threading.local()
guard = threading.Lock()
pair: list[Any] = [None, None]
idle: list[Any] = []


class Keeper:
    client: Any = None

    @classmethod
    async def of_class(cls) -> None:
        if cls.client is None or cls.client.home is not asyncio.get_running_loop():
            if cls.client is not None:
                await asyncio.sleep(0)
            cls.client = Client()

    async def of_instance(self) -> None:
        if self.client is None or self.client.home is not asyncio.get_running_loop():
            self.client = Client()


keeper = Keeper()


@pytest.fixture(autouse=True)
def _begin_anew() -> Iterator[None]:
    global client, home, lock, latest
    yield
    client = home = lock = latest = Keeper.client = None
    vars(keeper).clear()
    vars(of_itself).clear()
    slots.client = slots.home = pair[0] = pair[1] = None
    state.clear()


async def of_module() -> None:
    global client
    if client is None or client.home is not asyncio.get_running_loop():
        client = Client()


async def of_library() -> None:
    global client, home
    if home is not asyncio.get_running_loop():
        client, home = redis.asyncio.Redis(), asyncio.get_running_loop()


async def a_lock() -> None:
    global lock, home
    if home is not asyncio.get_running_loop():
        lock, home = asyncio.Lock(), asyncio.get_running_loop()
    async with lock:
        await asyncio.sleep(0)


async def an_entry() -> None:
    if state.get("home") is not asyncio.get_running_loop():
        state["client"], state["home"] = Client(), asyncio.get_running_loop()


def around() -> Work:
    client = home = None

    async def work() -> None:
        nonlocal client, home
        if home is not asyncio.get_running_loop():
            client, home = Client(), asyncio.get_running_loop()  # type: ignore[assignment]
        assert client is not None

    return work


in_closure = around()


async def of_a_closure() -> None:
    await in_closure()


class Slots:
    __slots__ = ("__weakref__", "client", "home")

    def __init__(self) -> None:
        self.client = self.home = None

    async def of_instance(self) -> None:
        if self.home is not asyncio.get_running_loop():
            self.client, self.home = Client(), asyncio.get_running_loop()  # type: ignore


slots = Slots()


async def of_a_global_object() -> None:
    if keeper.client is None or keeper.client.home is not asyncio.get_running_loop():
        keeper.client = Client()


async def of_itself() -> None:
    function: Any = of_itself
    if getattr(function, "home", None) is not asyncio.get_running_loop():
        of_itself.client, of_itself.home = Client(), asyncio.get_running_loop()  # type: ignore


async def in_a_tuple() -> None:
    if keeper.client is None or keeper.client[0] is not asyncio.get_running_loop():
        keeper.client = asyncio.get_running_loop(), Client()


async def in_a_list() -> None:
    if pair[0] is not asyncio.get_running_loop():
        pair[:] = asyncio.get_running_loop(), Client()


async def in_a_tuple_under_a_key() -> None:
    kept = keeper.__dict__.get("kept")
    if kept is None or kept[0] is not asyncio.get_running_loop():
        keeper.__dict__["kept"] = asyncio.get_running_loop(), Client()


async def under_a_lock() -> None:
    with guard:
        await of_module()


@pytest.mark.parametrize("rounds", [2, 5])
@pytest.mark.parametrize(
    ("body", "owner"),
    [
        (of_module, "client"),
        (of_library, "client"),
        (a_lock, "lock"),
        (an_entry, "state"),
        (under_a_lock, "client"),
        (of_a_closure, "in_closure.__closure__[0].cell_contents"),
        (slots.of_instance, "slots.client"),
        (of_a_global_object, "keeper.client"),
        (of_itself, "of_itself.client"),
        (in_a_tuple, "keeper.client"),
        (in_a_list, "pair"),
        (in_a_tuple_under_a_key, "keeper.__dict__"),
        (Keeper.of_class, "Keeper.client"),
        (keeper.of_instance, "keeper.client"),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_it_goes_to_and_fro(body: Work, owner: str, rounds: int) -> None:
    report = pytest_loopsafe.run(in_turn(body, rounds), loops=2)
    found = [one for one in report.findings if "from each other" in one.message]
    assert [(one.code, str(one.severity), one.owner) for one in found] == [
        ("LS205", "warning", f"{__name__}.{owner}")
    ]


async def one_for_each_loop() -> None:
    loop = asyncio.get_running_loop()
    if loop not in per_loop:
        per_loop[loop] = object()
        state[str(id(loop))] = Client()


async def one_for_each_thread() -> None:
    known = getattr(per_thread, "client", None)
    if known is None or known.home is not asyncio.get_running_loop():
        per_thread.client = Client()


async def one_for_each_call() -> None:
    own = Client()
    await own.aclose()


async def the_latest_is_remembered() -> None:
    global latest
    latest = Client()
    await latest.aclose()


async def taken_away_again() -> None:
    global client
    with guard:
        if client is None:
            client = Client()
        await client.aclose()
        client = None


async def counted_and_logged() -> None:
    global latest
    if latest is None or latest:
        own = Client()
        latest = f"{own.home}"


class PerThread(threading.local):
    client: Any = None


of_threads = PerThread()


async def a_closure_for_each_thread() -> None:
    if of_threads.client is None:
        of_threads.client = around()
    work = of_threads.client
    await work()


async def one_for_each_thread_of_a_class() -> None:
    if of_threads.client is None or of_threads.client[0] is not asyncio.get_running_loop():
        of_threads.client = asyncio.get_running_loop(), Client()


async def listed_while_it_is_used() -> None:
    """It is added to and taken from: who is first there now takes nobody's place."""
    if len(idle) < 5:
        idle.append(Client())
        if len(idle) > 1:
            idle.pop(0)


@pytest.mark.parametrize(
    "body",
    [
        one_for_each_thread_of_a_class,
        a_closure_for_each_thread,
        listed_while_it_is_used,
        one_for_each_loop,
        one_for_each_thread,
        one_for_each_call,
        the_latest_is_remembered,
        taken_away_again,
        counted_and_logged,
    ],
)
def test_nobody_takes_anything_away(body: Work) -> None:
    report = pytest_loopsafe.run(in_turn(body, rounds=3), loops=2)
    assert [one.message for one in report.findings if one.code == "LS205"] == []


def test_each_came_once() -> None:
    """The second loop took the slot, and the first never came again."""
    report = pytest_loopsafe.run(in_turn(of_module, rounds=1), loops=2)
    assert report.findings == ()


def test_loops_that_follow_one_another() -> None:
    def three() -> None:
        for _ in range(3):
            asyncio.run(of_module())

    assert [one.code for one in pytest_loopsafe.run(three).findings] == []


def test_nothing_is_read_while_there_is_one_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where functions write to is of interest once there is another loop."""

    async def never_read_before() -> None:
        global client, home
        if home is not asyncio.get_running_loop():
            client, home = asyncio.create_task(asyncio.sleep(0)), asyncio.get_running_loop()
            await client

    read, original = [], Body.read

    def note(code: CodeType) -> Body:
        if asyncio._get_running_loop() is not None:
            read.append(code)
        return original(code)

    monkeypatch.setattr(Body, "read", note)
    pytest_loopsafe.run(never_read_before, loops=4, check=False)
    assert read == []
    pytest_loopsafe.run(in_turn(never_read_before), loops=2, check=False)
    assert never_read_before.__code__ in read
