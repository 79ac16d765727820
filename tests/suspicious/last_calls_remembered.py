"""The last finished tasks are remembered, up to a limit; each has its loop."""

import asyncio
import collections

last = collections.deque(maxlen=5)


async def main():
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    last.append(task)
