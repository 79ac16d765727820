"""One line makes the client that is kept and those that are used once; each is closed."""

import asyncio

import httpx

app_client = None
ALONE = True


def make():
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(204)))


async def once():
    async with make() as client:
        await client.get("http://here/")


async def main():
    global app_client
    app_client = make()
    try:
        await asyncio.gather(once(), once())
        await app_client.get("http://here/")
    finally:
        await app_client.aclose()
