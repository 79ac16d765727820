"""A helper decorated with functools.cache gives the loop that there was when it was first asked.

An application that is started again has a new loop, and the helper still gives the dead one: the
timer that is to end the connecting is refused, and the error is taken for a failed connection.
Right: ask for the running loop each time.
"""

import asyncio
import functools
import logging

SOURCE = "https://github.com/ib-api-reloaded/ib_async/issues/186"
FINDS = ("LS103",)


@functools.cache
def cached_loop():
    return asyncio.get_running_loop()


async def connect(loop):
    timer = None
    try:
        timer = loop.call_later(60, logging.error, "connecting took too long")
        await asyncio.sleep(0)
        return True
    except Exception as error:
        logging.error("not connected: %s", error)
        return False
    finally:
        if timer is not None:
            timer.cancel()


async def broken():
    return await connect(cached_loop())


async def fixed():
    return await connect(asyncio.get_running_loop())
