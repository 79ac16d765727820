"""get_pool() awaits between "is there a pool?" and "this is the pool".

The first requests come at once: each finds none and builds one. The last of them is kept (and
closed with the last request); the others are lost, with their connections open. The right fix:
one at a time may look and build, under a lock that belongs to the loop as the pool does.
"""

import asyncio
import contextlib
import weakref

import asyncpg

SOURCE = "https://github.com/hushh-labs/hushh-research/pull/1647"
FINDS = ("LS203",)
SERVERS = ("postgres",)
RUN = {"concurrency": 3}

pool = None
requests = 0


async def get_pool(url):
    global pool
    if pool is None:
        pool = await asyncpg.create_pool(url, min_size=1, max_size=2)
    return pool


async def broken(postgres_url):
    global pool, requests
    requests += 1
    try:
        await (await get_pool(postgres_url)).fetchval("SELECT 1")
    finally:
        requests -= 1
        if requests == 0:
            closing, pool = pool, None
            await closing.close()


class Shared:
    def __init__(self):
        self.lock = asyncio.Lock()
        self.pool = None
        self.users = 0


shared_by_loop = weakref.WeakKeyDictionary()


@contextlib.asynccontextmanager
async def shared_pool(url):
    """The loop's one pool, closed and forgotten with its last user."""
    loop = asyncio.get_running_loop()
    shared = shared_by_loop.setdefault(loop, Shared())
    shared.users += 1
    try:
        async with shared.lock:
            if shared.pool is None:
                shared.pool = await asyncpg.create_pool(url, min_size=1, max_size=2)
        yield shared.pool
    finally:
        shared.users -= 1
        if shared.users == 0:
            del shared_by_loop[loop]
            if shared.pool is not None:
                await shared.pool.close()


async def fixed(postgres_url):
    async with shared_pool(postgres_url) as own:
        await own.fetchval("SELECT 1")
