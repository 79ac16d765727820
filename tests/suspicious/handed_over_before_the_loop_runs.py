"""Work is handed to a loop just before its thread begins to run it."""

import asyncio
import threading


async def work():
    await asyncio.sleep(0)
    return "done"


def main():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    future = asyncio.run_coroutine_threadsafe(work(), loop)
    thread.start()
    assert future.result(5) == "done"
    del future
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
