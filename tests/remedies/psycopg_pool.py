"""A pool of psycopg in a global: its workers end with the loop that opened it."""

from psycopg_pool import AsyncConnectionPool

ADAPTER = "PsycopgPool"
SERVER = "postgres"
URL = ""

pool = None


async def broken():
    global pool
    if pool is None:
        pool = AsyncConnectionPool(URL, min_size=1, timeout=1, open=False)
        await pool.open(wait=True)
    async with pool.connection() as connection:
        await connection.execute("SELECT 1")


async def remedied():
    async with AsyncConnectionPool(URL, min_size=1, open=False) as pool:
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")
