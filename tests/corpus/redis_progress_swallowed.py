"""One Redis helper, kept on its class, ends the progress of every task; its errors are logged.

Every task body has its own asyncio.run(). The helper catches whatever goes wrong and takes it for
"no such task", so nothing fails, the final state is not written, and the page shows a finished
task as running for ever. Right: a client for this run alone, closed before the loop ends.
"""

import asyncio
import logging

import redis
import redis.asyncio

SOURCE = "https://github.com/jxxghp/MoviePilot/issues/6729"
FINDS = ("LS101",)
SERVERS = ("redis",)

logger = logging.getLogger(__name__)


class RedisHelper:
    client = None  # one for the process

    @classmethod
    async def get(cls, redis_url, key):
        if cls.client is None:
            cls.client = redis.asyncio.from_url(redis_url)
        try:
            return await cls.client.get(key)
        except Exception as error:
            logger.info("failed to get %s: %s", key, error)
            return None


async def end_shared(redis_url):
    if await RedisHelper.get(redis_url, "progress") is not None:
        await RedisHelper.client.set("progress", "finished")


async def end_own(redis_url):
    async with redis.asyncio.from_url(redis_url) as client:
        if await client.get("progress") is not None:
            await client.set("progress", "finished")


def task(redis_url, end):
    with redis.Redis.from_url(redis_url) as client:
        client.set("progress", "running")
        asyncio.run(end(redis_url))
        return client.get("progress")


def broken(redis_url):
    return task(redis_url, end_shared)


def fixed(redis_url):
    return task(redis_url, end_own)
