"""A connection pool of redis.asyncio in a global, with a client for each use."""

from redis.asyncio import ConnectionPool, Redis

ADAPTER = "RedisPool"
SERVER = "redis"
URL = ""

pool = None


async def broken():
    global pool
    if pool is None:
        pool = ConnectionPool.from_url(URL)
    await Redis(connection_pool=pool).ping()


async def remedied():
    client = Redis.from_pool(ConnectionPool.from_url(URL))
    try:
        await client.ping()
    finally:
        await client.aclose()
