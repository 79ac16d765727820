"""Redis clients are cached for each loop, under the loop itself, and nobody takes them out.

Each loop gets a client of its own, so nothing fails. But the cache keeps every loop that ever ran,
and with it a client: a service that runs its coroutines on short-lived loops ends when it has no
more file descriptors. Right: a client for the run, closed in it.
"""

import asyncio

import redis.asyncio

SOURCE = "https://github.com/PrefectHQ/prefect/issues/22442"
FINDS = ("LS206",)
SERVERS = ("redis",)

client_cache = {}


async def broken(redis_url):
    loop = asyncio.get_running_loop()
    if loop not in client_cache:
        client_cache[loop] = redis.asyncio.from_url(redis_url)
    return await client_cache[loop].incr("runs")


async def fixed(redis_url):
    async with redis.asyncio.from_url(redis_url) as client:
        return await client.incr("runs")
