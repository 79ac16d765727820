"""A cache keeps the Redis client for a while only; each time it expires a new pool is connected.

All in one loop: the old pool is dropped with its connections open, the new one starts cold, and
under load the server runs out of clients. (Ten minutes there, a few milliseconds here.) Right: one
client for the loop's whole life, closed at its end.
"""

import asyncio
import time

import redis.asyncio

SOURCE = "https://github.com/BerriAI/litellm/pull/29177"
FINDS = ("LS205",)
SERVERS = ("redis",)

TTL = 0.002


class ClientCache:
    client = None
    expires = 0.0

    def get(self, url):
        if self.client is None or time.monotonic() >= self.expires:
            self.client = redis.asyncio.from_url(url)
            self.expires = time.monotonic() + TTL
        return self.client


cache = ClientCache()


async def broken(redis_url):
    for _ in range(4):
        await cache.get(redis_url).incr("spend")
        await asyncio.sleep(2 * TTL)


async def fixed(redis_url):
    async with redis.asyncio.from_url(redis_url) as client:
        for _ in range(4):
            await client.incr("spend")
            await asyncio.sleep(2 * TTL)
