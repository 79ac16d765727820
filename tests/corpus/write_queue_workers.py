"""The workers of a write queue are started by the app factory, whose loop is not the server's.

They ended with that loop, but their tasks are still in the list, so "are the workers started?"
says yes: completions are queued, nothing is written, nothing is raised. The right fix: start them
in the loop that serves, and drain and stop them before it ends.
"""

import asyncio

from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

SOURCE = "https://github.com/ogx-ai/ogx/pull/4373"
FINDS = ("LS207",)
SERVERS = ("postgres",)


class InferenceStore:
    def __init__(self, url):
        url = url.replace("postgresql:", "postgresql+psycopg:", 1)
        self.engine = create_async_engine(url, poolclass=NullPool)
        self.queue = None
        self.worker_tasks = []

    async def initialize(self):
        async with self.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE IF NOT EXISTS completions (id text)"))
        self.queue = asyncio.Queue()
        self.ensure_workers_started()

    def ensure_workers_started(self):
        if not self.worker_tasks:
            self.worker_tasks.append(asyncio.create_task(self.worker()))

    async def worker(self):
        while True:
            completion = await self.queue.get()
            async with self.engine.begin() as connection:
                await connection.execute(
                    text("INSERT INTO completions VALUES (:id)"), {"id": completion}
                )
            self.queue.task_done()

    async def store_chat_completion(self, completion):
        self.ensure_workers_started()
        self.queue.put_nowait(completion)

    async def close(self):
        await self.queue.join()
        for task in self.worker_tasks:
            task.cancel()
        await asyncio.gather(*self.worker_tasks, return_exceptions=True)
        self.worker_tasks.clear()


store = None


def broken(postgres_url):
    global store
    if store is None:
        store = InferenceStore(postgres_url)
        asyncio.run(store.initialize())
    asyncio.run(store.store_chat_completion("lost"))


async def serve(url):
    own = InferenceStore(url)
    await own.initialize()
    try:
        await own.store_chat_completion("kept")
    finally:
        await own.close()


def fixed(postgres_url):
    asyncio.run(serve(postgres_url))
