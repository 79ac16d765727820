"""A logging worker makes itself a new queue when it finds itself in another event loop.

What the run before had queued, and the worker had not come to write, goes with the old queue: rows
of spend are missing, and nothing says so. The right fix: stop the worker and write the rest before
the loop ends.
"""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

SOURCE = "https://github.com/BerriAI/litellm/issues/36548"
FINDS = ("LS306",)

INTERVAL = 0.05


class LoggingWorker:
    def __init__(self):
        self.engine = create_async_engine("sqlite+aiosqlite://")
        self.queue = None
        self.loop = None
        self.task = None

    def enqueue(self, row):
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            self.queue, self.loop, self.task = asyncio.Queue(), loop, None
        if self.task is None:
            self.task = asyncio.create_task(self.work())
        self.queue.put_nowait({"id": row})

    async def work(self):
        while True:
            await asyncio.sleep(INTERVAL)
            await self.flush()

    async def flush(self):
        rows = [self.queue.get_nowait() for _ in range(self.queue.qsize())]
        if rows:
            async with self.engine.begin() as connection:
                await connection.execute(text("CREATE TABLE IF NOT EXISTS spend (id text)"))
                await connection.execute(text("INSERT INTO spend VALUES (:id)"), rows)

    async def close(self):
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.flush()
        await self.engine.dispose()


worker = LoggingWorker()


async def broken():
    worker.enqueue("request")


async def fixed():
    own = LoggingWorker()
    own.enqueue("request")
    await own.close()
