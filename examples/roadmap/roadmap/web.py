"""The web side: a WebSocket that forwards every notification from Redis to the browser.

It is the same in all revisions, and correct: its client lives and dies with one connection.
"""

import asyncio
import contextlib

from fastapi import FastAPI, WebSocket
from redis.asyncio import Redis

from roadmap import settings

app = FastAPI(title="Roadmaps")


@app.websocket("/progress")
async def progress(browser: WebSocket) -> None:
    """Forward notifications until the browser leaves."""
    await browser.accept()
    forwarding = asyncio.create_task(_forward(browser))
    try:
        # A browser sends nothing, so the first thing to come from it is that it has gone.
        await browser.receive()
    finally:
        forwarding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await forwarding


async def _forward(browser: WebSocket) -> None:
    async with (
        Redis.from_url(settings.redis_url(), decode_responses=True) as client,
        client.pubsub() as subscription,
    ):
        await subscription.subscribe(settings.CHANNEL)
        async for message in subscription.listen():
            if message["type"] == "subscribe":
                await browser.send_json({"step": "listening"})
            elif message["type"] == "message":
                await browser.send_text(message["data"])
