"""Each adapter tells the truth about a real client of its library, and one that does not is caught.

What an adapter says is asked of the library itself: over real servers, in a loop and after it.
"""

import asyncio
import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import stand_ins

from pytest_loopsafe import Adapter
from pytest_loopsafe._adapters import built_in
from pytest_loopsafe.testing import AdapterError, check_adapter

ADAPTERS = {type(one).__name__: one for one in built_in()}


def redis_client(url: str) -> Any:
    import redis.asyncio

    return redis.asyncio.from_url(url)


def redis_pool(url: str) -> Any:
    import redis.asyncio

    return redis.asyncio.ConnectionPool.from_url(url)


async def asyncpg_pool(url: str) -> Any:
    import asyncpg

    return await asyncpg.create_pool(url, min_size=1)


async def asyncpg_connection(url: str) -> Any:
    import asyncpg

    return await asyncpg.connect(url)


async def psycopg_pool(url: str) -> Any:
    from psycopg_pool import AsyncConnectionPool

    pool = AsyncConnectionPool(url, min_size=1, open=False)
    await pool.open(wait=True)
    return pool


async def psycopg_connection(url: str) -> Any:
    import psycopg

    return await psycopg.AsyncConnection.connect(url)


async def nats_client(url: str) -> Any:
    import nats

    return await nats.connect(url)


def engine(url: str) -> Any:
    from sqlalchemy.ext.asyncio import create_async_engine

    return create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:", 1))


async def sqlite() -> Any:
    import aiosqlite

    return await aiosqlite.connect(":memory:")


async def aiohttp_session() -> Any:
    import aiohttp

    return aiohttp.ClientSession()


def httpx_client() -> Any:
    import httpx

    return httpx.AsyncClient()


def grpc_channel(address: str) -> Any:
    import grpc.aio

    return grpc.aio.insecure_channel(address)


async def websocket(url: str) -> Any:
    from websockets.asyncio.client import connect

    return await connect(url)


def mongo_client(url: str) -> Any:
    from pymongo import AsyncMongoClient

    return AsyncMongoClient(url)


def motor_client(url: str) -> Any:
    from motor.motor_asyncio import AsyncIOMotorClient

    return AsyncIOMotorClient(url)


async def kafka_producer(address: str) -> Any:
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    return producer


async def botocore_client(url: str) -> Any:
    from aiobotocore.session import get_session

    keys = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anything"}
    making = get_session().create_client("s3", "eu-west-1", endpoint_url=url, **keys)
    return await making.__aenter__()


CLIENTS: dict[str, tuple[Callable[..., Any], str | None]] = {
    "RedisClient": (redis_client, "redis"),
    "RedisPool": (redis_pool, "redis"),
    "AsyncpgPool": (asyncpg_pool, "postgres"),
    "AsyncpgConnection": (asyncpg_connection, "postgres"),
    "PsycopgPool": (psycopg_pool, "postgres"),
    "PsycopgConnection": (psycopg_connection, "postgres"),
    "NatsClient": (nats_client, "nats"),
    "Engine": (engine, "postgres"),
    "AiosqliteConnection": (sqlite, None),
    "AiohttpSession": (aiohttp_session, None),
    "HttpxClient": (httpx_client, None),
    "GrpcChannel": (grpc_channel, "grpc"),
    "WebSocket": (websocket, "websocket"),
    "MongoClient": (mongo_client, "mongo"),
    "MotorClient": (motor_client, "mongo"),
    "KafkaClient": (kafka_producer, "kafka"),
    "BotocoreClient": (botocore_client, "http"),
    "Gate": (asyncio.Lock, None),
    "Flag": (asyncio.Event, None),
    "Mailbox": (asyncio.Queue, None),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_it_tells_the_truth(name: str, request: pytest.FixtureRequest) -> None:
    make, server = CLIENTS[name]
    if server is None:
        check_adapter(ADAPTERS[name], make)
    elif (serve := getattr(stand_ins, f"{server}_server", None)) is not None:
        with serve() as url:
            check_adapter(ADAPTERS[name], lambda: make(url))
    else:
        url = request.getfixturevalue(f"{server}_url")
        check_adapter(ADAPTERS[name], lambda: make(url))


@pytest.mark.parametrize("name", ADAPTERS)
def test_its_classes_are_there(name: str) -> None:
    """At least one of the names is of a class: libraries move them."""
    found = []
    for path in ADAPTERS[name].types:
        parts = path.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            try:
                thing: Any = importlib.import_module(".".join(parts[:cut]))
            except ImportError:
                continue
            for part in parts[cut:]:
                thing = getattr(thing, part, None)
            found.append(thing)
            break
    assert any(isinstance(one, type) for one in found)


# -- an adapter that is wrong ---------------------------------------------------------------------


class Door:
    def __init__(self) -> None:
        self.shut = False

    async def close(self) -> None:
        self.shut = True


class Honest(Adapter):
    types = (f"{__name__}.Door",)

    async def probe(self, resource: Any) -> None:
        await asyncio.sleep(0)

    def is_closed(self, resource: Any) -> bool | None:
        return bool(resource.shut)


def test_an_honest_one_passes() -> None:
    check_adapter(Honest(), Door)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"types": ("elsewhere.Door",)}, "does not know a test_adapters.Door"),
        ({"closers": ("shut_down",)}, "has none of the closers"),
        ({"is_closed": lambda self, resource: False}, r"is open after close\(\)"),
        ({"is_closed": lambda self, resource: True}, "is closed while it is in use"),
    ],
)
def test_a_wrong_one_is_caught(members: Mapping[str, Any], message: str) -> None:
    wrong = type("Wrong", (Honest,), dict(members))()
    with pytest.raises(AdapterError, match=message):
        check_adapter(wrong, Door)


# -- from a package -------------------------------------------------------------------------------


def test_one_from_an_installed_package_counts(tmp_path: Path) -> None:
    """By its entry point, and only once its library has been imported."""
    info = tmp_path / "warehouse-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: warehouse\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[pytest_loopsafe.adapters]\nwarehouse = warehouse_adapter:Store\n"
        "absent = no_such_module:Nothing\n"
    )
    (tmp_path / "warehouse.py").write_text("class Client:\n    closed = False\n")
    (tmp_path / "warehouse_adapter.py").write_text(
        textwrap.dedent("""
        from pytest_loopsafe import Adapter

        class Store(Adapter):
            types = ("warehouse.Client",)

            def is_closed(self, resource):
                return resource.closed
        """)
    )
    script = textwrap.dedent("""
        import sys
        from pytest_loopsafe._adapters import Adapters
        Adapters()
        assert "warehouse_adapter" not in sys.modules
        import warehouse
        print(Adapters().is_closed(warehouse.Client()))
    """)
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == "False", result.stderr
