"""A client of tools keeps an exit stack: one run connects, and another closes it.

What was entered in the first loop is left in the second, where its streams and its task group are
nobody's: the close hangs, raises, or does nothing. Right: one loop for both.
"""

import asyncio
import contextlib

SOURCE = "https://github.com/modelcontextprotocol/python-sdk/issues/79"
FINDS = ("LS308",)


@contextlib.asynccontextmanager
async def streams():
    requests, answers = asyncio.Queue(), asyncio.Queue()

    async def serve():
        while (request := await requests.get()) is not None:
            await answers.put(request)

    async with asyncio.TaskGroup() as group:
        group.create_task(serve())
        try:
            yield requests, answers
        finally:
            await requests.put(None)


class ToolClient:
    def __init__(self):
        self.stack = contextlib.AsyncExitStack()

    async def connect(self):
        self.streams = await self.stack.enter_async_context(streams())

    async def call(self, tool):
        requests, answers = self.streams
        await requests.put(tool)
        return await answers.get()

    async def close(self):
        with contextlib.suppress(BaseException):  # "cancel scope in a different task", logged
            await self.stack.aclose()


def broken():
    client = ToolClient()

    async def use():
        await client.connect()
        return await client.call("add")

    assert asyncio.run(use()) == "add"
    asyncio.run(client.close())


def fixed():
    client = ToolClient()
    with asyncio.Runner() as runner:
        runner.run(client.connect())
        assert runner.run(client.call("add")) == "add"
        runner.run(client.close())
