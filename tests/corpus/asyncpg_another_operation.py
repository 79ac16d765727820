"""A global asyncpg pool, made in the start-up's asyncio.run() and used in the ones after it.

Users saw "cannot perform operation: another operation is in progress" on every query after the
first: the query fails with the cross-loop error, giving the connection back fails with this one,
which hides it; from then on the pool of one is empty and only times out. The right fix: the pool
lives within the one run that uses it.
"""

import logging

import asyncpg

SOURCE = "https://github.com/tortoise/tortoise-orm/issues/450"
FINDS = ("LS101", "LS201")
SERVERS = ("postgres",)

log = logging.getLogger(__name__)
pool = None


async def broken(postgres_url):
    global pool
    if pool is None:
        pool = await asyncpg.create_pool(postgres_url, min_size=1, max_size=1)
    try:
        async with pool.acquire(timeout=0.05) as connection:
            await connection.fetchval("SELECT now()")
    except (asyncpg.InterfaceError, TimeoutError) as error:
        log.debug("boot time not saved: %r", error)


async def fixed(postgres_url):
    async with (
        asyncpg.create_pool(postgres_url, min_size=1, max_size=1) as own,
        own.acquire(timeout=5) as connection,
    ):
        await connection.fetchval("SELECT now()")
