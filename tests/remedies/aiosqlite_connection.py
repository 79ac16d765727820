"""A connection of aiosqlite's in a global, which the first uses in a loop build more than once.

Its thread answers to whichever loop asks, so that one connection serves loop after loop; what is
lost is the second one, with its thread.
"""

import asyncio
import weakref

import aiosqlite

ADAPTER = "AiosqliteConnection"

path = ":memory:"
connection = None
opened = weakref.WeakSet()


async def use_shared():
    global connection
    if connection is None:
        connection = await aiosqlite.connect(path)
        opened.add(connection)
    await connection.execute_fetchall("SELECT 1")


async def broken():
    await asyncio.gather(use_shared(), use_shared())


async def use_own():
    async with aiosqlite.connect(path) as connection:
        await connection.execute_fetchall("SELECT 1")


async def remedied():
    await asyncio.gather(use_own(), use_own())


def clean_up():
    """End the threads: each keeps its connection alive, and the process."""
    for one in opened:
        one.stop()
