"""What a thread of a pool keeps in a ``threading.local`` from one run to the next is named."""

import asyncio
import contextlib
import gc
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import pytest_loopsafe

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


made: list[int] = []


class Session:
    """It opens a connection when it is first used, and has a lock."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.writer: asyncio.StreamWriter | None = None

    async def send(self) -> None:
        async with self.lock:
            if self.writer is None:
                _, self.writer = await asyncio.open_connection(*listener.getsockname())
            self.writer.write(b"x")

    async def aclose(self) -> None:
        if self.writer is not None:
            self.writer.close()
            await self.writer.wait_closed()
            self.writer = None


class Prepared(threading.local):
    def __init__(self) -> None:
        made.append(threading.get_ident())
        self.session = Session()


class Registry:
    def __init__(self) -> None:
        self.here = threading.local()


local, prepared, registry = threading.local(), Prepared(), Registry()
listener: Any = None


@pytest.fixture(autouse=True)
def _begin_anew() -> Iterator[None]:
    global listener, local, prepared, registry
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield
    local, prepared, registry = threading.local(), Prepared(), Registry()


def forget() -> None:
    for one in (local, prepared, registry.here):
        vars(one).clear()
    gc.collect()


async def a_session() -> None:
    if not hasattr(local, "session"):
        local.session = Session()
    with contextlib.suppress(Exception):
        await local.session.send()


async def a_prepared_session() -> None:
    with contextlib.suppress(Exception):
        await prepared.session.send()


async def an_entry() -> None:
    if not hasattr(registry.here, "sessions"):
        registry.here.sessions = {}
    with contextlib.suppress(Exception):
        await registry.here.sessions.setdefault("a", Session()).send()


async def a_lock() -> None:
    if not hasattr(local, "lock"):
        local.lock = asyncio.Lock()

    async def hold() -> None:
        async with local.lock:
            await asyncio.sleep(0)

    with contextlib.suppress(RuntimeError):
        await asyncio.gather(hold(), hold())


async def a_future() -> None:
    if not hasattr(local, "ready"):
        local.ready = asyncio.get_running_loop().create_future()
    with contextlib.suppress(Exception):
        await asyncio.wait_for(asyncio.shield(local.ready), 0.001)


async def a_worker() -> None:
    if not hasattr(local, "queue"):
        local.queue = asyncio.Queue()
        local.task = asyncio.create_task(work(local.queue))
    local.queue.put_nowait("item")
    await asyncio.sleep(0)


async def work(queue: asyncio.Queue[str]) -> None:
    while True:
        await queue.get()


def run_in_a_pool(*bodies: Callable[[], Awaitable[None]]) -> pytest_loopsafe.LoopReport:
    """Run after run in the one thread of a pool, which lives on."""

    async def main(body: Callable[[], Awaitable[None]]) -> None:
        await body()

    def call() -> None:
        for body in bodies:
            pool.submit(lambda: asyncio.run(main(body))).result()

    with ThreadPoolExecutor(1) as pool:
        report = pytest_loopsafe.run(call, check=False)
        pool.submit(forget).result()  # a thread may outlive its pool for a moment
    return report


BROKEN = {
    a_session: ("LS103", "local.session"),
    a_prepared_session: ("LS103", "prepared.session"),
    an_entry: ("LS103", "registry.here.sessions['a']"),
    a_lock: ("LS102", "local.lock"),
    a_future: ("LS101", "local.ready"),
    a_worker: ("LS207", "local.queue"),
}


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("body", BROKEN, ids=lambda body: body.__name__)
def test_the_thread_local_is_named(body: Callable[[], Awaitable[None]], runs: int) -> None:
    code, name = BROKEN[body]
    report = run_in_a_pool(*[body] * runs)
    found = {one.code: one.owner for one in report.errors}
    assert found.get(code, "").startswith(f"{__name__}.{name}"), found


def test_no_constructor_of_a_local_runs_for_us() -> None:
    made.clear()
    run_in_a_pool(a_prepared_session, a_prepared_session)
    assert len(made) == 1
    assert made != [threading.get_ident()]


async def closed_and_deleted() -> None:
    local.session = Session()
    await local.session.send()
    await local.session.aclose()
    del local.session


async def replaced_in_each_run() -> None:
    if getattr(local, "home", None) is not asyncio.get_running_loop():
        local.home, local.session = asyncio.get_running_loop(), Session()
    await local.session.send()
    await local.session.aclose()


async def keyed_by_loop() -> None:
    if not hasattr(local, "by_loop"):
        local.by_loop = weakref.WeakKeyDictionary()
    loop = asyncio.get_running_loop()
    if loop not in local.by_loop:
        local.by_loop[loop] = Session()
    await local.by_loop[loop].send()
    await local.by_loop[loop].aclose()


@pytest.mark.parametrize("body", [closed_and_deleted, replaced_in_each_run, keyed_by_loop])
def test_who_has_one_for_each_run_is_left_alone(body: Callable[[], Awaitable[None]]) -> None:
    report = run_in_a_pool(body, body)
    assert [one.message for one in report.findings] == []


def test_one_runner_for_each_thread() -> None:
    """The thread's loop goes on, and so may what it keeps."""

    def call() -> None:
        if not hasattr(local, "runner"):
            local.runner, local.session = asyncio.Runner(), Session()
        local.runner.run(local.session.send())

    def end() -> None:
        local.runner.run(local.session.aclose())
        local.runner.close()
        del local.runner

    def body() -> None:
        with ThreadPoolExecutor(1) as pool:
            for one in (call, call, end):
                pool.submit(one).result()

    assert pytest_loopsafe.run(body).findings == ()
