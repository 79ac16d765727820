"""A library's run_sync() replaces a closed current loop by a new one, installs and keeps it.

It does so since a dependency, as many do, installs a loop of its own and leaves it there closed.
The two of them take turns: at each call one more loop is dropped without having been closed, with
its selector and its socket pair. Right: asyncio.run(), which leaves nothing installed.
"""

import asyncio

SOURCE = "https://github.com/pydantic/pydantic-ai/pull/6850"
FINDS = ("LS304", "LS305")


async def agent():
    await asyncio.sleep(0)
    return "answer"


def dependency():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()


def run_sync(coroutine):
    loop = asyncio.get_event_loop()
    if loop.is_closed():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop.run_until_complete(coroutine)


def broken():
    dependency()
    return run_sync(agent())


def fixed():
    asyncio.run(asyncio.sleep(0))
    return asyncio.run(agent())
