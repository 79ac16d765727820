"""A retrieval store that is built anew for each event loop, and whose predecessor is just dropped.

The cross-loop error is gone, but the engine of the loop before is never disposed of: its pooled
connection stays open until the garbage collector comes by, one more for each run ("too many
clients already"). The right fix: whoever builds the store disposes of it, in the same loop.
"""

import asyncio
import contextlib

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

SOURCE = "https://github.com/vstorm-co/agenticos/pull/1128"
FINDS = ("LS202",)
SERVERS = ("postgres",)


class PgVectorStore:
    def __init__(self, url):
        self.engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:", 1))

    async def search(self):
        async with self.engine.connect() as connection:
            return await connection.scalar(text("SELECT 'a chunk'"))


store = None
store_loop = None


def get_store(url):
    global store, store_loop
    loop = asyncio.get_running_loop()
    if store is None or store_loop is not loop:
        store, store_loop = PgVectorStore(url), loop
    return store


async def broken(postgres_url):
    await get_store(postgres_url).search()


@contextlib.asynccontextmanager
async def own_store(url):
    own = PgVectorStore(url)
    try:
        yield own
    finally:
        await own.engine.dispose()


async def fixed(postgres_url):
    async with own_store(postgres_url) as own:
        await own.search()
