"""A response of aiohttp's that one loop opens, and a later one reads: most of it is yet to come."""

from aiohttp import ClientSession, ClientTimeout

ADAPTER = "AiohttpResponse"
SERVER = "http"
URL = ""

response = None


async def broken():
    global response
    if response is None:
        # With a time limit aiohttp refuses by itself, if it has to wait: its timer wants a task.
        session = ClientSession(timeout=ClientTimeout(total=None))
        response = await session.get(f"{URL}large")
        response.opened_by = session  # which would close all if it was collected
    else:
        await response.read()


async def remedied():
    async with ClientSession() as session:
        async with session.get(f"{URL}large") as response:
            await response.read()
