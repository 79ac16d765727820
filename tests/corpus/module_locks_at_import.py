"""Locks made at import, and one cached for each session, are taken under each asyncio.run().

A lock binds to a loop only when somebody has to wait for it: the registry's, which is contended,
raises in every later loop; the session's, which is not, passes silently until the day it is. Right:
the locks belong to an object that lives inside the run.
"""

import asyncio
import collections

SOURCE = "https://github.com/topoteretes/cognee/pull/2938"
FINDS = ("LS102", "LS107")

registry_lock = asyncio.Lock()
session_locks = {}
registry = collections.Counter()


async def register(name):
    async with registry_lock:
        await asyncio.sleep(0)
        registry[name] += 1


async def broken():
    async with session_locks.setdefault(("session", "improve"), asyncio.Lock()):
        await asyncio.gather(register("user"), register("agent"))


class Sessions:
    def __init__(self):
        self.registry_lock = asyncio.Lock()
        self.locks = collections.defaultdict(asyncio.Lock)

    async def register(self, name):
        async with self.registry_lock:
            await asyncio.sleep(0)
            registry[name] += 1

    async def improve(self, session):
        async with self.locks[session, "improve"]:
            await asyncio.gather(self.register("user"), self.register("agent"))


async def fixed():
    await Sessions().improve("session")
