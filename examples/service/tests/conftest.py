"""Servers for the session, tables for the session, and clean ones and a client for each test."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import pytest_asyncio
import servers
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine


class _Payments(BaseHTTPRequestHandler):
    """A payment provider that keeps its connections open, as real ones do."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture(scope="session", autouse=True)
def _servers() -> Iterator[None]:
    with (
        servers.postgres_server() as postgres,
        servers.redis_server() as redis,
        ThreadingHTTPServer(("127.0.0.1", 0), _Payments) as payments,
    ):
        threading.Thread(target=payments.serve_forever, daemon=True).start()
        os.environ["SHOP_DATABASE_URL"] = postgres.replace("postgresql:", "postgresql+asyncpg:")
        os.environ["SHOP_REDIS_URL"] = redis
        os.environ["SHOP_PAYMENTS_URL"] = f"http://127.0.0.1:{payments.server_port}"
        yield
        payments.shutdown()


@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def _tables(_servers: None) -> None:
    from shop.orders import METADATA

    engine = create_async_engine(os.environ["SHOP_DATABASE_URL"])
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    await engine.dispose()


@pytest.fixture(autouse=True)
async def redis(_servers: None) -> AsyncIterator[Redis]:
    """The shop's Redis, with two books in stock."""
    async with Redis.from_url(os.environ["SHOP_REDIS_URL"], decode_responses=True) as client:
        await client.flushdb()
        await client.set("stock:book", 2)
        yield client


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A browser of the running application."""
    from shop.web import create_app

    app = create_app()
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as browser,
    ):
        yield browser
