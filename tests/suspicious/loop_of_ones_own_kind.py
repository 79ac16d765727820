"""A loop and primitives whose classes cannot be compared, are never true and cannot be printed."""

import asyncio


class Odd:
    def __eq__(self, other):
        raise TypeError("cannot be compared")

    __hash__ = object.__hash__

    def __bool__(self):
        raise TypeError("neither true nor false")

    def __repr__(self):
        raise TypeError("cannot be printed")


class Loop(Odd, asyncio.SelectorEventLoop):
    pass


class Lock(Odd, asyncio.Lock):
    pass


class Queue(Odd, asyncio.Queue):
    __hash__ = None


async def step(lock, queue):
    async with lock:
        await queue.put(1)
        await asyncio.sleep(0)
        return await queue.get()


async def serve():
    lock, queue = Lock(), Queue(1)
    server = await asyncio.start_server(print, "127.0.0.1", 0)
    await asyncio.gather(step(lock, queue), step(lock, queue))
    server.close()
    await server.wait_closed()
    return server


kept = []


def main():
    with asyncio.Runner(loop_factory=Loop) as runner:
        kept[:] = [runner.run(serve())]
