"""Only the newest checkpoint is taken from alist(), and the generator is left where it paused.

It is suspended inside the saver's lock with two cursors open: the next write waits for it, and its
end is left to the loop or the collector, when the connection is closed already. Right: aclosing(),
so that it ends before anything else is done with the saver.
"""

import asyncio
import contextlib

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

SOURCE = "https://github.com/langchain-ai/langgraph/issues/8558"
FINDS = ("LS302",)

config = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}


async def broken():
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        stored = await saver.aput(config, empty_checkpoint(), {}, {})
        history = saver.alist(stored)
        newest = await anext(history)
        try:
            async with asyncio.timeout(0.02):
                await saver.aput(newest.config, empty_checkpoint(), {}, {})
        except TimeoutError:
            return "lost"
    return "stored"


async def fixed():
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        stored = await saver.aput(config, empty_checkpoint(), {}, {})
        async with contextlib.aclosing(saver.alist(stored)) as history:
            newest = await anext(history)
        await saver.aput(newest.config, empty_checkpoint(), {}, {})
    return "stored"
