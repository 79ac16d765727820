"""One pool of threads for all loops, which none of them takes for its own."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(2)


def compute():
    return 1


async def main():
    loop = asyncio.get_running_loop()
    results = await asyncio.gather(*(loop.run_in_executor(pool, compute) for _ in range(4)))
    own = ThreadPoolExecutor(1)
    loop.set_default_executor(own)
    await asyncio.to_thread(compute)
    return results
