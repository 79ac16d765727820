"""LS203 for clients that no adapter knows: one of two connections is lost when both are opened."""

import asyncio
import contextlib
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

import pytest_loopsafe


async def opened(url: str) -> asyncio.StreamWriter:
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    return writer


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


class Client:
    """A connection of one's own, which closes it only when told to."""

    def __init__(self, url: str) -> None:
        self.parts = urlsplit(url)

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        host, port = self.parts.hostname, self.parts.port
        self.transport, _ = await loop.create_connection(asyncio.Protocol, host, port)

    def close(self) -> None:
        self.transport.close()


class Holder:
    client: Client | None = None
    home: Callable[[], Any] = staticmethod(lambda: None)


holder = Holder()
by_loop: Any = weakref.WeakKeyDictionary()
writer: asyncio.StreamWriter | None = None
home: Callable[[], Any] = lambda: None  # noqa: E731
users = 0


async def into_a_global(url: str) -> None:
    global writer, home
    if home() is not asyncio.get_running_loop():
        writer = await opened(url)
        home = weakref.ref(asyncio.get_running_loop())


async def into_an_attribute(url: str) -> None:
    if holder.home() is not asyncio.get_running_loop():
        client = Client(url)
        await client.connect()
        holder.client = client
        holder.home = weakref.ref(asyncio.get_running_loop())


async def into_an_entry_of_its_loop(url: str) -> None:
    loop = asyncio.get_running_loop()
    if loop not in by_loop:
        client = Client(url)
        await client.connect()
        by_loop[loop] = client


@contextlib.contextmanager
def closed_by_its_last_user() -> Iterator[None]:
    """The last user closes the holder's client; one that was lost it does not know."""
    global users
    users += 1
    try:
        yield
    finally:
        users -= 1
        if users == 0 and holder.client is not None:
            holder.client.close()
            holder.client = None


async def and_the_kept_one_is_closed(url: str) -> None:
    with closed_by_its_last_user():
        if holder.client is None:
            client = Client(url)
            await client.connect()
            holder.client = client
        await asyncio.sleep(0.01)


async def with_a_limit_of_time(url: str) -> None:
    """Before 3.12 what is waited for runs in a task of its own."""
    global writer, home
    if home() is not asyncio.get_running_loop():
        writer = await asyncio.wait_for(opened(url), 10)
        home = weakref.ref(asyncio.get_running_loop())


async def in_a_task_of_its_own(url: str) -> None:
    global writer, home
    if home() is not asyncio.get_running_loop():
        writer = await asyncio.create_task(opened(url))
        home = weakref.ref(asyncio.get_running_loop())


class Connected:
    """It looks in one method and opens in another."""

    transport: asyncio.BaseTransport | None = None

    @property
    def is_connected(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    async def ensure(self, url: str) -> None:
        if not self.is_connected:
            await self.connect(url)

    async def connect(self, url: str) -> None:
        loop, parts = asyncio.get_running_loop(), urlsplit(url)
        self.transport, _ = await loop.create_connection(
            asyncio.Protocol, parts.hostname, parts.port
        )


connected = Connected()


async def by_a_method_that_does_not_look(url: str) -> None:
    await connected.ensure(url)


async def in_a_task_group(url: str) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(into_an_attribute(url))


# -- correct ------------------------------------------------------------------------------------


async def one_in_flight(url: str) -> None:
    loop = asyncio.get_running_loop()
    making = by_loop.get(loop)
    if making is None:
        making = by_loop[loop] = asyncio.ensure_future(opened(url))
    kept = await making
    await asyncio.sleep(0.01)
    if by_loop.pop(loop, None):
        await closed(kept)


async def under_a_lock(url: str) -> None:
    loop = asyncio.get_running_loop()
    lock = by_loop.setdefault(loop, asyncio.Lock())
    with closed_by_its_last_user():
        async with lock:
            if holder.client is None:
                client = Client(url)
                await client.connect()
                holder.client = client
        await asyncio.sleep(0.01)
    if users == 0:
        del by_loop[loop]


async def the_loser_closes_its_own(url: str) -> None:
    global writer, users
    users += 1
    try:
        if writer is None:
            fresh = await opened(url)
            if writer is None:
                writer = fresh
            else:
                await closed(fresh)
        await asyncio.sleep(0.01)
    finally:
        users -= 1
        if users == 0 and writer is not None:
            closing, writer = writer, None
            await closed(closing)


pool: list[asyncio.StreamWriter] = []


async def a_pool_of_several(url: str) -> None:
    """Each call takes one that is free or opens one, and puts it back; the last closes them all."""
    global users
    users += 1
    try:
        one = pool.pop() if pool else await opened(url)
        await asyncio.sleep(0.01)
        pool.append(one)
    finally:
        users -= 1
        if users == 0:
            while pool:
                await closed(pool.pop())


async def one_for_each_call(url: str) -> None:
    with contextlib.closing(await opened(url)):
        await asyncio.sleep(0)


class Subscriber:
    """Keeps its connection itself, and opens another when that is gone."""

    writer: asyncio.StreamWriter | None = None

    async def listen(self, url: str) -> None:
        if self.writer is None:
            self.writer = await opened(url)
        await asyncio.sleep(0.01)


def test_two_objects_of_a_class_have_a_place_each(redis_url: str) -> None:
    """What one of them leaves open is a leftover (LS303), and no race for the other's place."""
    subscribers = [Subscriber()]

    async def passes() -> None:
        kept, other = subscribers[0], Subscriber()
        await asyncio.gather(kept.listen(redis_url), other.listen(redis_url))
        assert kept.writer is not None
        await closed(kept.writer)
        kept.writer = None

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        report = pytest_loopsafe.run(passes, loops=2, check=False)
    assert {one.code for one in report.findings} == {"LS303"}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_call_that_opens_several_is_no_race_with_itself(redis_url: str) -> None:
    async def passes() -> None:
        if holder.client is None:
            clients = [Client(redis_url) for _ in range(3)]
            await asyncio.gather(*(one.connect() for one in clients))
            holder.client = clients[0]
        holder.client.close()
        clients[1].close()  # and the third is left open
        holder.client = None

    report = pytest_loopsafe.run(passes, loops=2, check=False)
    assert {one.code for one in report.findings} == {"LS303"}


@pytest.fixture(autouse=True)
def _begin_anew() -> Any:
    global writer, home, users
    yield
    writer, home, users = None, lambda: None, 0
    holder.client, holder.home = None, lambda: None
    connected.transport = None
    by_loop.clear()
    pool.clear()


BROKEN = (
    into_a_global,
    into_an_attribute,
    into_an_entry_of_its_loop,
    and_the_kept_one_is_closed,
    by_a_method_that_does_not_look,
    with_a_limit_of_time,
    in_a_task_of_its_own,
    in_a_task_group,
)
CORRECT = (
    one_in_flight,
    under_a_lock,
    the_loser_closes_its_own,
    a_pool_of_several,
    one_for_each_call,
)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("body", BROKEN, ids=lambda body: body.__name__)
def test_a_lost_connection_is_a_race(
    body: Callable[[str], Awaitable[None]], redis_url: str
) -> None:
    async def passes() -> None:
        await body(redis_url)

    report = pytest_loopsafe.run(passes, loops=2, concurrency=2, check=False)
    (race,) = (one for one in report.findings if one.code == "LS203")
    assert f"{__name__}.py" in str(race.stacks[0].site)
    assert any(
        name in race.message for name in ("writer", "client", "by_loop", "connected.transport")
    )
    assert race.owner is None or race.owner.startswith(f"{__name__}.")  # a path, or none


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "persistent"])
@pytest.mark.parametrize("body", CORRECT, ids=lambda body: body.__name__)
def test_several_connections_that_are_wanted_are_none(
    body: Callable[[str], Awaitable[None]], schedule: str, redis_url: str
) -> None:
    async def passes() -> None:
        await body(redis_url)

    report = pytest_loopsafe.run(passes, loops=3, concurrency=3, schedule=schedule, check=False)
    assert [str(one) for one in report.findings] == []
    assert not [one.error for one in report.passes if one.error is not None]
