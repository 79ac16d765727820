"""A sync helper submits a coroutine to the running loop and waits for it, in the loop's thread.

While result() blocks the thread the loop cannot run the coroutine: the wait ends with its timeout,
and with none never. Right: call the helper in another thread, which is what it was written for.
"""

import asyncio

SOURCE = "https://github.com/python/cpython/issues/121075"
FINDS = ("LS105",)


async def lookup():
    await asyncio.sleep(0.001)
    return 3


def lookup_sync(loop, timeout):
    future = asyncio.run_coroutine_threadsafe(lookup(), loop)
    try:
        return future.result(timeout)
    except TimeoutError:
        future.cancel()
        return None


async def broken():
    return lookup_sync(asyncio.get_running_loop(), 0.02)


async def fixed():
    return await asyncio.to_thread(lookup_sync, asyncio.get_running_loop(), 5)
