"""A checkpointer is opened by hand once per process, since a factory cannot be an `async with`.

Each later loop works with what belongs to the first, whose end has closed half of it. Right: who
runs the loop opens it there.
"""

import contextlib

SOURCE = "https://github.com/bytedance/deer-flow/issues/3392"
FINDS = ("LS308",)


class Saver:
    def __init__(self, opened):
        self.opened = opened

    async def put(self, thread, state):
        if self.opened:
            self.opened[thread] = state


@contextlib.asynccontextmanager
async def open_saver():
    opened = {"": None}
    try:
        yield Saver(opened)
    finally:
        opened.clear()  # from here on nothing is kept, and nobody is told


class Factory:
    context = None
    saver = None

    async def get(self):
        if self.saver is None:
            self.context = open_saver()
            self.saver = await self.context.__aenter__()
        return self.saver


factory = Factory()


async def broken():
    saver = await factory.get()
    await saver.put("thread", 1)


async def fixed():
    async with open_saver() as saver:
        await saver.put("thread", 1)
        assert saver.opened["thread"] == 1
