"""A socket is connected outside, lent to a run for one message, and used again after the run.

asyncio leaves it alone as long as nobody closes the writer; uvloop closes what its loop was given
when the loop is closed, and whoever made the socket gets a bad descriptor. Right: the run gets a
copy of its own, and closes that.
"""

import asyncio
import socket

import uvloop

SOURCE = "https://github.com/Kludex/uvicorn/issues/1414"
FINDS = ("LS201",)

MESSAGE = b'{"msg": "test"}\n'


async def send(sock):
    _, writer = await asyncio.open_connection(sock=sock)
    writer.write(MESSAGE)
    await writer.drain()
    return writer


async def send_and_close(sock):
    writer = await send(sock)
    writer.close()
    await writer.wait_closed()


def talk(given):
    sock, far = socket.socketpair()
    with sock, far:
        sock.sendall(MESSAGE)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(given(sock))
        sock.sendall(MESSAGE)
        sock.shutdown(socket.SHUT_WR)
        with far.makefile("rb") as received:
            assert received.readlines() == [MESSAGE] * 3


def broken():
    talk(send)


def fixed():
    talk(lambda sock: send_and_close(sock.dup()))
