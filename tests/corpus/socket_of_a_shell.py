"""A shell opens its device's socket at the start, and each command's run makes streams of it.

The first command's run takes the socket for its own and closes it with its streams; the second is
refused, and the shell only says that the device is busy. Right: each command's run gets a copy.
"""

import asyncio
import socket

SOURCE = "https://github.com/python/cpython/issues/108089"
FINDS = ("LS201",)


class Device:
    """The other side: it answers nothing, and takes everything."""

    def __init__(self):
        self.port, self.device = socket.socketpair()

    def close(self):
        self.port.close()
        self.device.close()


async def command(sock):
    _, writer = await asyncio.open_connection(sock=sock)
    try:
        writer.write(b"status\n")
        await writer.drain()
    finally:
        writer.close()
        await writer.wait_closed()


def shell(given):
    device = Device()
    try:
        for _ in range(2):
            try:
                asyncio.run(command(given(device.port)))
            except Exception:
                print("device is busy")
    finally:
        device.close()


def broken():
    shell(lambda port: port)


def fixed():
    shell(lambda port: port.dup())
