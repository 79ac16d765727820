"""One listening socket for all runs: each run's server gets a copy of it, and closes that.

The socket itself is used between the runs, and by hand.
"""

import asyncio
import socket


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()
    await writer.wait_closed()


async def serve(listener: socket.socket) -> None:
    async with await asyncio.start_server(answer, sock=listener.dup()):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()
        await writer.wait_closed()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(2):
            asyncio.run(serve(listener))
            listener.listen()
