"""A loop in a thread is stopped the right way, and its transport is written to by itself."""

import asyncio
import threading


async def serve(stop):
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        await stop.wait()


def main():
    ready, kept = threading.Event(), {}

    def run():
        async def body():
            kept["loop"], kept["stop"] = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await serve(kept["stop"])

        asyncio.run(body())

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    kept["loop"].call_soon_threadsafe(kept["stop"].set)
    thread.join()
