"""A client of redis.asyncio in a global."""

from redis.asyncio import Redis

from pytest_loopsafe.recipes import LoopLocal

ADAPTER = "RedisClient"
SERVER = "redis"
URL = ""

client = None


async def broken():
    global client
    if client is None:
        client = Redis.from_url(URL)
    await client.ping()


async def remedied():
    async with Redis.from_url(URL) as client:
        await client.ping()


clients = LoopLocal(lambda: Redis.from_url(URL), close=Redis.aclose)


async def remedied_with_loop_local():
    await (await clients.get()).ping()
