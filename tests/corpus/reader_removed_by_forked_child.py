"""A forked worker cleans up after its parent: it removes the readers of the loop that it inherited.

The epoll object is one for both, so it is the parent that no longer hears of its connection. Right:
the child lets go of its copies of the descriptors, and leaves the loop alone.
"""

import asyncio
import os
import socket

SOURCE = "https://github.com/python/cpython/issues/66285"
FINDS = ("LS401",)


def forked(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


async def served(cleaned_up):
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    heard = asyncio.Event()
    loop.add_reader(near, heard.set)
    try:
        forked(lambda: cleaned_up(loop, near))
        far.send(b"hello")
        try:
            await asyncio.wait_for(heard.wait(), 0.05)
        except TimeoutError:
            print("the client says nothing")
        try:
            loop.remove_reader(near)
        except FileNotFoundError:
            print("it is gone already")
    finally:
        near.close()
        far.close()


async def broken():
    await served(lambda loop, sock: loop.remove_reader(sock))


async def fixed():
    await served(lambda loop, sock: sock.close())
