"""A thread of a pool has its client in a thread-local, and takes it out when its run ends."""

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(2)
local = threading.local()


class Session:
    def __init__(self):
        self.lock = asyncio.Lock()
        self.queue = asyncio.Queue()
        self.task = asyncio.create_task(self.work())

    async def work(self):
        while True:
            await self.queue.get()
            self.queue.task_done()

    async def aclose(self):
        await self.queue.join()
        self.task.cancel()
        await asyncio.wait([self.task])


@contextlib.asynccontextmanager
async def session():
    local.session = Session()
    try:
        yield
    finally:
        await local.session.aclose()
        del local.session


async def ask():
    async with local.session.lock:
        local.session.queue.put_nowait("item")
        await asyncio.sleep(0)


async def run():
    async with session():
        await asyncio.gather(ask(), ask())


def main():
    list(pool.map(lambda _: asyncio.run(run()), range(4)))
