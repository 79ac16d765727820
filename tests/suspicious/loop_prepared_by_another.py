"""A task prepares a loop that a thread then runs."""

import asyncio
import threading


async def main():
    done = threading.Event()
    loop = asyncio.new_event_loop()
    loop.call_soon(done.set)
    loop.call_soon(loop.stop)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    await asyncio.to_thread(done.wait)
    thread.join()
    loop.close()
