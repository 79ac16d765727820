"""A coroutine forks, and the child goes on in it, in the loop that its parent runs.

Both then wait with one epoll object: what the one removes, the other no longer hears. Right: the
child never comes back to the loop; it does its work elsewhere and ends.
"""

import asyncio
import os
import warnings

SOURCE = "https://github.com/python/cpython/issues/130442"
FINDS = ("LS401",)


async def work():
    await asyncio.sleep(0)


async def forked(go_on):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            await go_on()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


async def in_a_loop_of_its_own():
    asyncio.run(work())


async def broken():
    await forked(work)


async def fixed():
    await forked(in_a_loop_of_its_own)
