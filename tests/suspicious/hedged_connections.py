"""Several connections are opened at once for one place; one is kept, and the others are closed.

And a pool whose calls all open one at the same time, and which keeps a single idle one.
"""

import asyncio

ALONE = True


class Hedged:
    writer: asyncio.StreamWriter | None = None

    async def connect(self, port: int) -> None:
        if self.writer is None:
            tries = [asyncio.create_task(opened(port)) for _ in range(3)]
            _, late = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
            for one in late:
                one.cancel()
            done = await asyncio.gather(*tries, return_exceptions=True)
            self.writer, *others = (one for one in done if not isinstance(one, BaseException))
            for other in others:
                await closed(other)


class Pool:
    def __init__(self) -> None:
        self.idle: list[asyncio.StreamWriter] = []
        self.size = 0

    async def use(self, port: int) -> None:
        if self.idle:
            writer = self.idle.pop()
        else:
            self.size += 1
            writer = await opened(port)
        await asyncio.sleep(0)
        if self.idle:
            self.size -= 1
            await closed(writer)
        else:
            self.idle.append(writer)

    async def close(self) -> None:
        while self.idle:
            await closed(self.idle.pop())


hedged, pool = Hedged(), Pool()


async def opened(port: int) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    return writer


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def main() -> None:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await hedged.connect(port)
        await asyncio.gather(*(pool.use(port) for _ in range(4)))
        assert hedged.writer is not None
        await closed(hedged.writer)
        hedged.writer = None
        await pool.close()
        while len(asyncio.all_tasks()) > 1:  # the server's side of them
            await asyncio.sleep(0.001)
