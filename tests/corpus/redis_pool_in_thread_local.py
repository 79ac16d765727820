"""A worker keeps one Redis pool in a thread-local, made anew for a new thread or after a fork.

Thread and process stay the same from task to task, but each task has a loop of its own: the pool
goes on with connections of the first one, and every second answer is lost, though the server has
counted the hit. Right: a pool for this run, closed at its end.
"""

import asyncio
import os
import threading

import redis.asyncio

SOURCE = "https://github.com/SuanmoSuanyangTechnology/MemoryBear/pull/743"
FINDS = ("LS201",)
SERVERS = ("redis",)

local = threading.local()


def thread_safe_redis(url):
    if getattr(local, "pid", None) != os.getpid():
        local.pid = os.getpid()
        local.pool = redis.asyncio.ConnectionPool.from_url(url)
    return redis.asyncio.Redis(connection_pool=local.pool)


async def hits_of_today(client):
    try:
        return await client.incr("hits of today")
    except Exception:
        return None


def broken(redis_url):
    async def task():
        return await hits_of_today(thread_safe_redis(redis_url))

    return asyncio.run(task())


def fixed(redis_url):
    async def task():
        async with redis.asyncio.from_url(redis_url) as client:
            return await hits_of_today(client)

    return asyncio.run(task())
