"""A subscription of redis.asyncio in a global, and clients that are right."""

from redis.asyncio import Redis

ADAPTER = "RedisPubSub"
SERVER = "redis"
URL = ""

pubsub = None


async def broken():
    global pubsub
    if pubsub is None:
        pubsub = Redis.from_url(URL).pubsub()
    await pubsub.subscribe("remedies")
    await pubsub.get_message(timeout=1)


async def remedied():
    async with Redis.from_url(URL) as client:
        pubsub = client.pubsub()
        await pubsub.subscribe("remedies")
        await pubsub.get_message(timeout=1)
        await pubsub.aclose()
