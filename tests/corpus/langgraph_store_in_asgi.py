"""One LangGraph store is built in the first loop and given to the agents of every later one.

The store remembers its loop and has a batch task there. Both are gone with it, but the store looks
well: each memory is refused with "Event loop is closed", which the tool hands to the model as its
answer. Right: a store for the run, its batch task ended with it.
"""

import asyncio
import contextlib

import aiosqlite
from langgraph.store.sqlite import AsyncSqliteStore

SOURCE = "https://github.com/langchain-ai/langgraph/issues/6693"
FINDS = ("LS103", "LS201", "LS207")

store = None


async def upsert_memory(store):
    try:
        await store.aput(("memories",), "colour", {"content": "blue"})
    except Exception as error:
        return f"Error: {error}"
    return "Stored memory"


async def broken():
    global store
    if store is None:
        connection = aiosqlite.connect(":memory:", isolation_level=None)
        connection._thread.daemon = True  # it is never closed, and the process should end
        store = AsyncSqliteStore(await connection)
        await store.setup()
    return await upsert_memory(store)


@contextlib.asynccontextmanager
async def own_store():
    async with AsyncSqliteStore.from_conn_string(":memory:") as store:
        await store.setup()
        try:
            yield store
        finally:
            store._task.cancel()  # the store leaves it running: langgraph issue 6367
            await asyncio.wait([store._task])


async def fixed():
    async with own_store() as store:
        return await upsert_memory(store)
