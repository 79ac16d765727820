"""What is done once is awaited where it is begun; its flag tells the truth in every loop."""

import asyncio

ready = False


async def warm_up():
    await asyncio.sleep(0)


async def main():
    global ready
    if not ready:
        await asyncio.create_task(warm_up())
        ready = True
