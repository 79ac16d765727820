"""An event stream asks an Event of the class whether to end; the first server's end has set it.

In the next loop each stream ends before its first message, and nothing raises: who is set need not
be waited for, so nothing binds. Right: an Event for each server, made where it runs.
"""

import asyncio

SOURCE = "https://github.com/sysid/sse-starlette/issues/140"
FINDS = ("LS107",)


class AppStatus:
    should_exit = asyncio.Event()


async def stream(should_exit, messages, sent):
    for message in messages:
        if should_exit.is_set():
            break
        sent.append(message)
        await asyncio.sleep(0)


async def serve(should_exit):
    sent = []
    streaming = asyncio.create_task(stream(should_exit, range(100), sent))
    await asyncio.sleep(0.01)
    should_exit.set()  # as the server's handler of SIGTERM does it
    await streaming
    return sent


async def broken():
    return await serve(AppStatus.should_exit)


async def fixed():
    return await serve(asyncio.Event())
