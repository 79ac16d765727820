"""Each thread of a pool has a semaphore of its own, and makes a new one in each loop."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(2)
local = threading.local()


async def work():
    local.gate = asyncio.Semaphore(1)

    async def enter():
        async with local.gate:
            await asyncio.sleep(0.001)

    await asyncio.gather(enter(), enter())


def main():
    list(pool.map(lambda _: asyncio.run(work()), range(4)))
