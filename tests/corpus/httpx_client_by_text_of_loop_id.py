"""The key of a cache of HTTP clients is a text, and the loop's id() is a part of it.

Numbers within a text come again as numbers do: the next loop finds the client that the one before
has closed. The right fix: no text, but the loop itself as a weak key.
"""

import asyncio
import weakref

import httpx

SOURCE = "https://github.com/BerriAI/litellm/pull/8861"
FINDS = ("LS204",)
RUN = {"schedule": "recycled"}

cache = {}


def new_client():
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(204)))


async def complete(client):
    try:
        return (await client.get("http://models/")).status_code
    except RuntimeError:
        return None
    finally:
        await client.aclose()


async def broken():
    key = f"async_httpx_client_openai_{id(asyncio.get_running_loop())}"
    if key not in cache:
        cache[key] = new_client()
    return await complete(cache[key])


clients = weakref.WeakKeyDictionary()


async def fixed():
    loop = asyncio.get_running_loop()
    if loop not in clients:
        clients[loop] = new_client()
    return await complete(clients[loop])
