"""A connection of psycopg in a global: its lock binds where two tasks meet."""

import asyncio

from psycopg import AsyncConnection

ADAPTER = "PsycopgConnection"
SERVER = "postgres"
URL = ""

connection = None


async def broken():
    global connection
    if connection is None:
        connection = await AsyncConnection.connect(URL)
    await asyncio.gather(connection.execute("SELECT 1"), connection.execute("SELECT 2"))


async def remedied():
    async with await AsyncConnection.connect(URL) as connection:
        await asyncio.gather(connection.execute("SELECT 1"), connection.execute("SELECT 2"))
