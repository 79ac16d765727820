"""A session of aiohttp's in a global."""

from aiohttp import ClientSession

ADAPTER = "AiohttpSession"
SERVER = "http"
URL = ""

session = None


async def broken():
    global session
    if session is None:
        session = ClientSession()
    async with session.get(URL) as response:
        await response.read()


async def remedied():
    async with ClientSession() as session:
        async with session.get(URL) as response:
            await response.read()
