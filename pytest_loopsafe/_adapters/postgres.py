"""asyncpg and psycopg: connections and pools."""

from __future__ import annotations

from typing import Any

from pytest_loopsafe._adapters.base import Adapter


class AsyncpgPool(Adapter):
    """An asyncpg pool."""

    types = ("asyncpg.pool.Pool",)
    closers = ("close", "terminate")
    remedy = "With asyncpg: `async with asyncpg.create_pool(...) as pool:` in each loop."

    async def probe(self, resource: Any) -> None:
        """``SELECT 1``."""
        await resource.fetchval("SELECT 1")

    def is_closed(self, resource: Any) -> bool | None:
        """As the pool says; one that was never initialised holds nothing."""
        return bool(resource._closed) or not resource._initialized


class AsyncpgConnection(Adapter):
    """An asyncpg connection."""

    types = ("asyncpg.connection.Connection",)
    closers = ("close", "terminate")
    remedy = (
        "With asyncpg: connect anew in each loop, and `await connection.close()` before it ends."
    )

    async def probe(self, resource: Any) -> None:
        """``SELECT 1``."""
        await resource.fetchval("SELECT 1")

    def is_closed(self, resource: Any) -> bool | None:
        """As the connection says."""
        return bool(resource.is_closed())


class PsycopgPool(Adapter):
    """A psycopg pool; its workers are tasks of the loop that opened it."""

    types = ("psycopg_pool.base.BasePool", "psycopg_pool.pool_async.AsyncConnectionPool")
    closers = ("close",)
    remedy = (
        "With psycopg: `async with AsyncConnectionPool(...) as pool:` in each loop; its workers "
        "end with their loop."
    )

    async def probe(self, resource: Any) -> None:
        """``SELECT 1``."""
        async with resource.connection(timeout=5) as connection:
            await connection.execute("SELECT 1")

    def is_closed(self, resource: Any) -> bool | None:
        """As the pool says."""
        return bool(resource.closed)


class PsycopgConnection(Adapter):
    """A psycopg connection."""

    types = ("psycopg.AsyncConnection", "psycopg.connection_async.AsyncConnection")
    closers = ("close",)
    remedy = (
        "With psycopg: connect anew in each loop, `async with await AsyncConnection.connect(...)`."
    )

    async def probe(self, resource: Any) -> None:
        """``SELECT 1``."""
        await resource.execute("SELECT 1")

    def is_closed(self, resource: Any) -> bool | None:
        """As the connection says."""
        return bool(resource.closed)
