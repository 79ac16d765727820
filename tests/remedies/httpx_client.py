"""A client of httpx's in a global."""

import httpx

from pytest_loopsafe.recipes import LoopLocal

ADAPTER = "HttpxClient"
SERVER = "http"
URL = ""

client = None


async def broken():
    global client
    if client is None:
        client = httpx.AsyncClient()
    await client.get(URL)


async def remedied():
    async with httpx.AsyncClient() as client:
        await client.get(URL)


clients = LoopLocal(httpx.AsyncClient, close=httpx.AsyncClient.aclose)


async def remedied_with_loop_local():
    await (await clients.get()).get(URL)
