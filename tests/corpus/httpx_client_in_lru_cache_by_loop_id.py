"""A cached function makes an HTTP client for each loop, told apart by an argument: the loop's id().

The next loop often has the same id(), and is given the client of the one before, which that closed
at its end. The right fix: a WeakKeyDictionary of the loops themselves.
"""

import asyncio
import functools
import weakref

import httpx

SOURCE = "https://github.com/langchain-ai/langchain/pull/35816"
FINDS = ("LS204",)


def new_client():
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(204)))


@functools.lru_cache
def cached_client(base_url, *, _event_loop_id=0):
    return new_client()


async def ask(client):
    try:
        return (await client.get("http://models/")).status_code
    except RuntimeError:
        return None
    finally:
        await client.aclose()


async def broken():
    return await ask(cached_client("http://models/", _event_loop_id=id(asyncio.get_running_loop())))


clients = weakref.WeakKeyDictionary()


async def fixed():
    loop = asyncio.get_running_loop()
    if loop not in clients:
        clients[loop] = new_client()
    return await ask(clients[loop])
