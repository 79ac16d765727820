"""Who is given no limiter makes one for itself, and so do all the others that are at it."""

import asyncio


async def fetch(limiter=None):
    limiter = limiter or asyncio.Semaphore(2)
    async with limiter:
        await asyncio.sleep(0)


async def store(lock):
    async with lock:
        await asyncio.sleep(0)


async def serve():
    writing = asyncio.Lock()  # of this connection, which writes again and again
    for _ in range(2):
        async with writing:
            await asyncio.sleep(0)


async def main():
    shared = asyncio.Semaphore(2)
    await asyncio.gather(*(fetch() for _ in range(3)))
    await asyncio.gather(*(fetch(shared) for _ in range(3)))
    await asyncio.gather(*(store(asyncio.Lock()) for _ in range(2)))
    await asyncio.gather(serve(), serve())
