"""A stream server's handler returns without closing its writer.

The client has gone and the server is closed, but its side of the connection stays open: asyncio
itself keeps the writer alive past the loop's end, without a warning, or, since that was repaired,
leaves it to a finalizer. Right: the handler closes what it was given.
"""

import asyncio

SOURCE = "https://github.com/python/cpython/issues/114914"
FINDS = ("LS303",)


async def forget(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()


async def handle(reader, writer):
    try:
        writer.write(await reader.readline())
        await writer.drain()
    finally:
        writer.close()
        await writer.wait_closed()


async def echo(handler):
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            writer.write(b"hello\n")
            return await reader.readline()
        finally:
            writer.close()
            await writer.wait_closed()
    finally:
        server.close()


async def broken():
    return await echo(forget)


async def fixed():
    return await echo(handle)
