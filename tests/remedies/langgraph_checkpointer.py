"""A checkpointer of LangGraph's in a global, over SQLite."""

import asyncio

import aiosqlite
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

ADAPTER = "Checkpointer"

saver = None


async def use(saver):
    threads = ({"configurable": {"thread_id": name}} for name in ("a", "b"))
    await asyncio.gather(*(saver.aget_tuple(thread) for thread in threads))


async def broken():
    global saver
    if saver is None:
        saver = AsyncSqliteSaver(await aiosqlite.connect(":memory:"))
    await use(saver)


async def remedied():
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        await use(saver)
