"""A pool of asyncpg in a global."""

import asyncpg

ADAPTER = "AsyncpgPool"
SERVER = "postgres"
URL = ""

pool = None


async def broken():
    global pool
    if pool is None:
        pool = await asyncpg.create_pool(URL, min_size=1)
    await pool.fetchval("SELECT 1")


async def remedied():
    async with asyncpg.create_pool(URL, min_size=1) as pool:
        await pool.fetchval("SELECT 1")
