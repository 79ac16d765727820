"""A cache of database engines by event loop, whose entries are to go when their loop is collected.

Each entry is removed by a finalizer of its loop. But the engine's pooled connection refers to the
loop, so the cache keeps the loop alive and the finalizer never runs: every run leaves its loop,
its engine and its connection behind. The right fix: dispose and remove before the loop ends.
"""

import asyncio
import weakref

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

SOURCE = "https://github.com/piercefreeman/mountaineer/pull/117"
FINDS = ("LS206",)
SERVERS = ("postgres",)
RUN = {"loops": 4}


class LoopObjectCache:
    def __init__(self):
        self.objects = {}

    def get_or_make(self, make):
        loop = asyncio.get_running_loop()
        if id(loop) not in self.objects:
            self.objects[id(loop)] = make()
            weakref.finalize(loop, self.objects.pop, id(loop), None)
        return self.objects[id(loop)]


engines = LoopObjectCache()


async def ping(engine):
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def broken(postgres_url):
    url = postgres_url.replace("postgresql:", "postgresql+asyncpg:", 1)
    await ping(engines.get_or_make(lambda: create_async_engine(url)))


async def fixed(postgres_url):
    url = postgres_url.replace("postgresql:", "postgresql+asyncpg:", 1)
    own = LoopObjectCache()
    try:
        await ping(own.get_or_make(lambda: create_async_engine(url)))
    finally:
        for engine in own.objects.values():
            await engine.dispose()
        own.objects.clear()
