"""A thread posts to a loop that may close meanwhile; its caller is prepared for the refusal."""

import asyncio
import threading


def post(loop, callback):
    loop.call_soon_threadsafe(callback)


def tick(loop, event):
    for _ in range(1_000):
        try:
            post(loop, event.set)
        except RuntimeError:
            return


async def main():
    event = asyncio.Event()
    threading.Thread(target=tick, args=(asyncio.get_running_loop(), event)).start()
    await event.wait()
