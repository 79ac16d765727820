"""A cache in memory deletes its entries by a timer of the loop that was running when they were put.

Each put and get has a loop of its own, so the timer goes with the loop that set it: the entry is
there for ever, and whoever asks is given a session that has expired. The right fix: write down when
an entry expires, and ask the clock.
"""

import asyncio
import time

SOURCE = "https://github.com/aio-libs/aiocache/issues/929"
FINDS = ("LS201",)


class Cache:
    def __init__(self):
        self._entries = {}
        self._handlers = {}

    async def set(self, key, value, ttl):
        self._entries[key] = value
        loop = asyncio.get_running_loop()
        self._handlers[key] = loop.call_later(ttl, self._delete, key)

    async def get(self, key):
        return self._entries.get(key)

    def _delete(self, key):
        self._entries.pop(key, None)
        self._handlers.pop(key, None)


class ClockedCache:
    def __init__(self):
        self._entries = {}

    async def set(self, key, value, ttl):
        self._entries[key] = value, time.monotonic() + ttl

    async def get(self, key):
        value, end = self._entries.get(key, (None, 0))
        return value if time.monotonic() < end else None


def session_of(user, cache):
    with asyncio.Runner() as runner:
        session = runner.run(cache.get(user))
    if session is None:
        session = f"session of {user}"
        with asyncio.Runner() as runner:
            runner.run(cache.set(user, session, ttl=60))
    return session


cache = Cache()
clocked = ClockedCache()


def broken():
    return session_of("peter", cache)


def fixed():
    return session_of("peter", clocked)
