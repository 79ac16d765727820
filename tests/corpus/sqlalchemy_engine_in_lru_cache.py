"""One SQLAlchemy engine, remembered by functools.lru_cache, serves every event loop.

Its queue pool keeps the asyncpg connection of the first loop and hands it out in the next: the
first query there raises "attached to a different loop". The right fix: a pool that keeps nothing
between two uses (NullPool), so that the engine itself may stay cached.
"""

import functools

from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

SOURCE = "https://github.com/skypilot-org/skypilot/pull/8725"
FINDS = ("LS101", "LS201")
SERVERS = ("postgres",)


@functools.lru_cache(maxsize=1)
def get_engine(url, **options):
    return create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:", 1), **options)


async def broken(postgres_url):
    async with get_engine(postgres_url, pool_size=1).connect() as connection:
        await connection.execute(text("SELECT 1"))


async def fixed(postgres_url):
    async with get_engine(postgres_url, poolclass=NullPool).connect() as connection:
        await connection.execute(text("SELECT 1"))
