"""A forked child lets go of what it inherited: descriptors, signals, a connection in use.

It closes its copies and works in a loop of its own; the parent, in the middle of its own run, goes
on with all of it.
"""

import asyncio
import os
import signal
import socket
import warnings

NOT_IN_LOOPS_AT_ONCE = "a thread that is gone in the child may have held a lock there"


def forked(near: socket.socket) -> None:
    child = os.fork()
    if child == 0:
        try:
            signal.set_wakeup_fd(-1)
            near.close()
            asyncio.run(asyncio.sleep(0))
        finally:
            os._exit(0)
    os.waitpid(child, 0)


async def main() -> None:
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        forked(near)
    far.send(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.close()
    await writer.wait_closed()
    far.close()
