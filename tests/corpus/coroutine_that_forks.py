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
    loop = asyncio.get_running_loop()

    async def goes_on():
        # From CPython 3.14 on the loop refuses a task's next step in the child, which waits for it.
        loop.call_soon(os._exit, 0)
        await work()

    await forked(goes_on)


async def fixed():
    await forked(in_a_loop_of_its_own)
