"""A LangGraph Postgres checkpointer that sets itself up on first use and then serves any loop.

Sync and background requests run in different loops. Two at a time contend for the saver's lock,
which then belongs to the first loop; in the next it raises, and the text of that error is handed
to the user as the agent's answer. The right fix: a saver, its pool and its lock for each loop.
"""

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

SOURCE = "https://github.com/natefleming/dao-ai/pull/182"
FINDS = ("LS102",)
SERVERS = ("postgres",)


class LazyCheckpointer:
    def __init__(self):
        self.init_lock = asyncio.Lock()
        self.saver = None

    async def ensure(self, url):
        async with self.init_lock:
            if self.saver is None:
                options = {"autocommit": True, "row_factory": dict_row}
                pool = AsyncConnectionPool(url, min_size=1, kwargs=options, open=False)
                await pool.open()
                self.saver = AsyncPostgresSaver(pool)
                await self.saver.setup()
        return self.saver


checkpointer = LazyCheckpointer()


async def respond(lazy, url, thread):
    try:
        saver = await lazy.ensure(url)
        return await saver.aget_tuple({"configurable": {"thread_id": thread}})
    except Exception as error:
        return f"Agent error: {error}"


async def broken(postgres_url):
    answers = (respond(checkpointer, postgres_url, thread) for thread in ("a", "b"))
    return await asyncio.gather(*answers)


async def fixed(postgres_url):
    own = LazyCheckpointer()
    try:
        answers = (respond(own, postgres_url, thread) for thread in ("a", "b"))
        return await asyncio.gather(*answers)
    finally:
        if own.saver is not None:
            await own.saver.conn.close()
