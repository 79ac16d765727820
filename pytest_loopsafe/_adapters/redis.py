"""redis.asyncio: clients, pools, pub/sub, locks, clusters."""

from __future__ import annotations

from typing import Any

from pytest_loopsafe._adapters.base import Adapter


class RedisClient(Adapter):
    """A client is open as long as one of its pool's connections is."""

    types = ("redis.asyncio.client.Redis", "redis.asyncio.cluster.RedisCluster")
    remedy = (
        "With redis.asyncio: `async with Redis.from_url(URL) as client:` in each loop, or "
        "`LoopLocal(lambda: Redis.from_url(URL), close=Redis.aclose)`."
    )

    async def probe(self, resource: Any) -> None:
        """``PING``."""
        await resource.ping()

    def is_closed(self, resource: Any) -> bool | None:
        """Closed means that nothing is connected: a client may be used again after close()."""
        pool = getattr(resource, "connection_pool", None)
        return None if pool is None else _is_pool_closed(pool)


class RedisPool(Adapter):
    """A pool hands out connections."""

    types = ("redis.asyncio.connection.ConnectionPool",)
    closers = ("aclose", "disconnect")
    remedy = (
        "With redis.asyncio: a pool belongs to one loop; give each loop a client with a pool of "
        "its own, and `await client.aclose()` before the loop ends."
    )

    async def probe(self, resource: Any) -> None:
        """Take a connection and give it back."""
        connection = await resource.get_connection()
        await resource.release(connection)

    def is_closed(self, resource: Any) -> bool | None:
        """Closed means that nothing is connected."""
        return _is_pool_closed(resource)


class RedisPubSub(Adapter):
    """A subscription has a connection of its own."""

    types = ("redis.asyncio.client.PubSub",)
    remedy = (
        "With redis.asyncio: subscribe anew in each loop, and `await pubsub.aclose()` before it "
        "ends."
    )

    async def probe(self, resource: Any) -> None:
        """Subscribe to a channel and leave it."""
        await resource.subscribe("pytest-loopsafe")
        await resource.unsubscribe("pytest-loopsafe")

    def is_closed(self, resource: Any) -> bool | None:
        """Closed means that it has given its connection back."""
        return getattr(resource, "connection", None) is None


class RedisLock(Adapter):
    """A lock is kept on the server; its client is what is bound."""

    types = ("redis.asyncio.lock.Lock",)
    closers = ()

    async def probe(self, resource: Any) -> None:
        """Ask whether it is held."""
        await resource.locked()


def _is_pool_closed(pool: Any) -> bool:
    connections = (
        *getattr(pool, "_available_connections", ()),
        *getattr(pool, "_in_use_connections", ()),
    )
    return not any(getattr(one, "_writer", None) is not None for one in connections)
