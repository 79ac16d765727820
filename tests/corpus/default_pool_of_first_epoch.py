"""A pipeline makes one thread pool the default executor of each epoch's loop.

`asyncio.run()` shuts the default executor down with the first epoch: in the second nothing can be
scheduled any more, and the stage that catches the error just yields nothing. The right fix: hand
the pool to `run_in_executor()`, and make it no loop's own.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

SOURCE = "https://github.com/facebookresearch/spdl/issues/272"
FINDS = ("LS201",)


def decode(item):
    return item * 2


class Pipeline:
    def __init__(self):
        self.executor = ThreadPoolExecutor(2)

    async def epoch(self):
        loop = asyncio.get_running_loop()
        loop.set_default_executor(self.executor)
        return [item async for item in self.stage(None)]

    async def epoch_with_its_own(self):
        return [item async for item in self.stage(self.executor)]

    async def stage(self, executor):
        for item in range(3):
            try:
                yield await asyncio.get_running_loop().run_in_executor(executor, decode, item)
            except RuntimeError:
                continue


pipeline = Pipeline()


async def broken():
    await pipeline.epoch()


async def fixed():
    await pipeline.epoch_with_its_own()
