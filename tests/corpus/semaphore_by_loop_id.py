"""Semaphores are kept for each event loop, under its id().

A permit is given back when the provider's time window is over, and the loop may end before that.
The next loop often gets the dead one's address, hence its semaphore with no permit left: the call
waits for ever. The right fix: the limit belongs to the run, and whoever takes a permit returns it.
"""

import asyncio

SOURCE = "https://github.com/NousResearch/hermes-agent/issues/93772"
FINDS = ("LS204",)
RUN = {"schedule": "recycled"}

WINDOW = 60
semaphores = {}


def get_semaphore(task):
    key = (task, id(asyncio.get_running_loop()))
    if key not in semaphores:
        semaphores[key] = asyncio.Semaphore(1)
    return semaphores[key]


async def call_llm():
    await asyncio.sleep(0)


async def broken():
    semaphore = get_semaphore("compression")
    async with asyncio.timeout(0.05):
        await semaphore.acquire()
    asyncio.get_running_loop().call_later(WINDOW, semaphore.release)
    await call_llm()


async def fixed():
    semaphore = asyncio.Semaphore(1)
    async with asyncio.timeout(0.05), semaphore:
        await call_llm()
