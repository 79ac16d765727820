"""Log lines are written to a stream from a thread, while the loop of that stream writes events.

A transport locks nothing: two writes at once lose or mix data, now and then. The right fix: hand
the line to the loop, which writes it.
"""

import asyncio

SOURCE = "https://github.com/replicate/cog/pull/1831"
FINDS = ("LS105",)


async def echoed(write_from_thread):
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await asyncio.to_thread(write_from_thread, writer)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


async def broken():
    return await echoed(lambda writer: writer.write(b"log\n"))


async def fixed():
    loop = asyncio.get_running_loop()
    return await echoed(lambda writer: loop.call_soon_threadsafe(writer.write, b"log\n"))
