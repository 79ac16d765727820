"""Each job has a lock under a key of its own, which it takes away while it holds the lock."""

import asyncio
import itertools

keys = itertools.count()
locks = {}


async def job(delay):
    await asyncio.sleep(delay)
    key = next(keys)
    locks[key] = asyncio.Lock()
    async with locks[key]:
        await asyncio.sleep(0)
        del locks[key]
        await asyncio.sleep(0.001)


async def main():
    await asyncio.gather(*(job(number / 1000) for number in range(5)))
