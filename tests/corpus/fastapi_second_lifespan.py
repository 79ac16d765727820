"""A FastAPI app makes a global lock at its first startup and keeps it for every later one.

Startup asks only whether there is a lock, and shutdown leaves it: a second lifespan in the process
(the next test, a restart) gets one that belongs to the first loop as soon as two events want it.
Right: the lifespan makes it anew and hands it out through the app's state.
"""

import asyncio
import contextlib

import fastapi
import httpx

SOURCE = "https://github.com/LearningCircuit/local-deep-research/issues/6106"
FINDS = ("LS102",)

lock = None
subscriptions = []


@contextlib.asynccontextmanager
async def init_lock(app):
    global lock
    if lock is None:
        lock = asyncio.Lock()
    app.state.lock = lock
    yield


@contextlib.asynccontextmanager
async def own_lock(app):
    app.state.lock = asyncio.Lock()
    yield


async def subscribe(request: fastapi.Request):
    async with request.app.state.lock:
        await asyncio.sleep(0)
        subscriptions.append(request.client)


async def serve(lifespan):
    app = fastapi.FastAPI(lifespan=lifespan)
    app.post("/subscribe")(subscribe)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        answers = await asyncio.gather(*(client.post("/subscribe") for _ in range(3)))
    return [answer.status_code for answer in answers]


async def broken():
    return await serve(init_lock)


async def fixed():
    return await serve(own_lock)
