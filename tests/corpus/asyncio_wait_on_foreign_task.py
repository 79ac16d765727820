"""Uploads are started in a loop that then pauses; the shutdown waits for them in asyncio.run().

asyncio's protection against the future of another loop works only with `await`: wait() registers a
callback, nothing is raised, and the uploads are given up as too slow though nobody runs them.
Right: wait in the loop that they were started in.
"""

import asyncio

SOURCE = "https://github.com/python/cpython/issues/76141"
FINDS = ("LS108",)


async def upload():
    await asyncio.sleep(0.001)
    return "stored"


async def drain(uploads):
    done, late = await asyncio.wait(uploads, timeout=0.02)
    for one in late:
        one.cancel()
    return [one.result() for one in done]


def broken():
    loop = asyncio.new_event_loop()
    try:
        uploads = [loop.create_task(upload())]
        loop.run_until_complete(asyncio.sleep(0))
        stored = asyncio.run(drain(uploads))
        loop.run_until_complete(asyncio.gather(*uploads, return_exceptions=True))
        return stored
    finally:
        loop.close()


def fixed():
    async def run():
        return await drain([asyncio.create_task(upload())])

    return asyncio.run(run())
