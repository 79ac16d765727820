"""A client that `async with` closes is used in a generator expression, so it lives in a cell."""

import asyncio

import httpx


def answer(request):
    return httpx.Response(204)


async def main():
    for _ in range(3):
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            await asyncio.gather(*(client.get("http://here/") for _ in range(3)))
