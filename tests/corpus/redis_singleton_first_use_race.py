"""The tasks that use a Redis singleton first in a new loop each connect one; the last one stays.

connect() awaits between the question whether there is a client for this loop and the answer: all
but one lose theirs, connected and never closed. Right: nothing is awaited in between, and the last
user of the loop closes what they shared.
"""

import asyncio
import contextlib
import weakref

import redis.asyncio

SOURCE = "https://github.com/aio-libs/aiocache/issues/222"
FINDS = ("LS203",)
SERVERS = ("redis",)
RUN = {"loops": 3, "concurrency": 4}

client = None
home = weakref.WeakSet()


async def connect(url):
    global client
    loop = asyncio.get_running_loop()
    if client is None or loop not in home:
        fresh = redis.asyncio.from_url(url)
        await fresh.ping()
        client = fresh
        home.clear()
        home.add(loop)
    return client


async def broken(redis_url):
    return await (await connect(redis_url)).incr("hits")


class Shared:
    def __init__(self, url):
        self.client = redis.asyncio.from_url(url)
        self.users = 0


shared = {}


@contextlib.asynccontextmanager
async def shared_client(url):
    loop = asyncio.get_running_loop()
    if loop not in shared:
        shared[loop] = Shared(url)
    mine = shared[loop]
    mine.users += 1
    try:
        yield mine.client
    finally:
        mine.users -= 1
        if mine.users == 0:
            del shared[loop]
            await mine.client.aclose()


async def fixed(redis_url):
    async with shared_client(redis_url) as client:
        return await client.incr("hits")
