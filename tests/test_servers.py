"""The servers for the tests are real, and none outlives its owner, however that ends."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import servers

psutil = pytest.importorskip("psutil")

SERVERS = {
    "redis": (servers.redis_server, "redis-server"),
    "postgres": (servers.postgres_server, "postgres"),
    "nats": (servers.nats_server, "nats-server"),
}
each_server = pytest.mark.parametrize("name", SERVERS)


@pytest.fixture(autouse=True)
def no_servers_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SERVERS:
        monkeypatch.delenv(f"LOOPSAFE_{name.upper()}_URL", raising=False)


@contextmanager
def started(name: str) -> Iterator[str]:
    try:
        with SERVERS[name][0]() as url:
            yield url
    except servers.ServerMissingError as missing:
        pytest.skip(str(missing))


async def ping_redis(url: str) -> None:
    redis = pytest.importorskip("redis.asyncio")
    async with redis.from_url(url) as client:
        assert await client.ping()
        assert await client.dbsize() == 0


async def ping_postgres(url: str) -> None:
    connection = await pytest.importorskip("asyncpg").connect(url)
    assert await connection.fetchval("SELECT 6 * 7") == 42
    await connection.close()


async def ping_nats(url: str) -> None:
    client = await pytest.importorskip("nats").connect(url)
    await client.flush(5)
    await client.close()


PING = {"redis": ping_redis, "postgres": ping_postgres, "nats": ping_nats}


def descendants(pid: int) -> list["psutil.Process"]:
    return psutil.Process(pid).children(recursive=True)


@pytest.fixture
def ours() -> Callable[[], list["psutil.Process"]]:
    """Lists the processes that this test has started; those of the session's servers are not."""
    before = set(descendants(os.getpid()))
    return lambda: [process for process in descendants(os.getpid()) if process not in before]


def named(processes: list["psutil.Process"], name: str) -> list["psutil.Process"]:
    """Those of that name; PostgreSQL's helpers come and go while one looks."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() == name:
                found.append(process)
    return found


def refuses(url: str) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) != 0


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def all_gone(processes: list["psutil.Process"]) -> bool:
    """Nothing runs any more; what is left for init to reap does not count."""
    return not any(runs(process) for process in processes)


def runs(process: "psutil.Process") -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@each_server
def test_it_serves_and_is_stopped_with_the_block(
    name: str, ours: Callable[[], list["psutil.Process"]]
) -> None:
    with started(name) as url:
        asyncio.run(PING[name](url))
        processes = ours()
        folder = Path(named(processes, SERVERS[name][1])[0].cwd())

    assert refuses(url)
    assert all_gone(processes)
    assert not folder.exists()


OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import servers
with getattr(servers, sys.argv[2])() as url:
    print(url, flush=True)
    time.sleep(60)
"""


@contextmanager
def owner_of(name: str) -> Iterator[tuple["psutil.Popen", str]]:
    """Another process that has started the server, and its URL."""
    with started(name):
        pass  # or the test is skipped
    folder = str(Path(servers.__file__).parent)
    command = [sys.executable, "-c", OWNER, folder, SERVERS[name][0].__name__]
    with psutil.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        try:
            yield owner, owner.stdout.readline().strip()
        finally:
            owner.send_signal(signal.SIGINT)  # it removes what a killed supervisor could not


@each_server
def test_a_killed_owner_takes_it_along(name: str) -> None:
    with owner_of(name) as (owner, url):
        processes = descendants(owner.pid)
        assert named(processes, SERVERS[name][1])
        assert not refuses(url)
        owner.kill()

    assert eventually(lambda: all_gone(processes))
    assert eventually(lambda: refuses(url))


@each_server
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end it with its parent")
def test_a_killed_supervisor_takes_it_along(name: str) -> None:
    with owner_of(name) as (owner, url):
        processes = descendants(owner.pid)
        [supervisor] = owner.children()
        supervisor.kill()

        assert eventually(lambda: all_gone(processes))
        assert eventually(lambda: refuses(url))  # a zombie's other threads may still hold the port


def test_two_at_a_time() -> None:
    with started("nats") as one, started("nats") as other:
        assert one != other
        asyncio.run(ping_nats(one))
        asyncio.run(ping_nats(other))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="runs as root only")
def test_postgres_programs_that_only_root_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_anyone_can_reach", lambda home: False)
    with started("postgres") as url:
        asyncio.run(ping_postgres(url))


# -- what goes wrong is named ------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="there is no redis-server")
def test_one_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = ["/bin/sh", "-c", "echo 'bad memory'; exit 3"]
    monkeypatch.setattr(servers, "_redis_command", lambda folder, port: failing)
    with pytest.raises(servers.ServerError, match=r"(?s)Redis ended while it was starting.*memory"):
        with servers.redis_server():
            pass


def test_one_that_dies_in_use_is_reported(ours: Callable[[], list["psutil.Process"]]) -> None:
    with pytest.raises(servers.ServerError, match="NATS ended while it was in use"):
        with started("nats"):
            [server] = named(ours(), "nats-server")
            server.kill()
            assert eventually(lambda: all_gone(ours()))


@each_server
def test_one_of_ones_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with started(name) as url:
        monkeypatch.setenv(f"LOOPSAFE_{name.upper()}_URL", url)
        before = psutil.Process().children()
        with SERVERS[name][0]() as used:
            assert used == url
            assert psutil.Process().children() == before


def test_a_redis_of_ones_own_has_to_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = pytest.importorskip("redis")
    with started("redis") as url, redis.Redis.from_url(url) as client:
        monkeypatch.setenv("LOOPSAFE_REDIS_URL", url)
        with servers.redis_server():
            client.set("a test's key", 1)
        assert client.dbsize() == 0

        client.set("the user's key", 1)
        with pytest.raises(servers.ServerError, match="holds 1 keys"):
            with servers.redis_server():
                pass
        assert client.dbsize() == 1
