"""A connection of asyncpg in a global."""

import asyncpg

ADAPTER = "AsyncpgConnection"
SERVER = "postgres"
URL = ""

connection = None


async def broken():
    global connection
    if connection is None:
        connection = await asyncpg.connect(URL)
    await connection.fetchval("SELECT 1")


async def remedied():
    connection = await asyncpg.connect(URL)
    await connection.fetchval("SELECT 1")
    await connection.close()
