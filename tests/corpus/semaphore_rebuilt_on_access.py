"""A property discards its semaphore when that is bound to another loop, and rebuilds it.

A semaphore that nobody has waited for is bound to no loop: its `_loop` is None, which is not the
running one. So each access makes a new one, with all its permits, while the one before is held:
the limit never applies. The right fix: one semaphore for the batch that it is to limit.
"""

import asyncio

SOURCE = (
    "https://github.com/aws-solutions-library-samples/"
    "accelerated-intelligent-document-processing-on-aws/issues/1053"
)
FINDS = ("LS208",)

LIMIT = 1


class Orchestrator:
    def __init__(self):
        self._semaphore = None

    @property
    def semaphore(self):
        loop = asyncio.get_running_loop()
        if self._semaphore is not None and self._semaphore._loop != loop:
            self._semaphore = None
        if self._semaphore is None:
            self._semaphore = asyncio.Semaphore(LIMIT)
        return self._semaphore

    async def evaluate(self):
        async with self.semaphore:
            await asyncio.sleep(0.001)


async def broken():
    orchestrator = Orchestrator()
    await asyncio.gather(*(orchestrator.evaluate() for _ in range(3)))


async def evaluate(semaphore):
    async with semaphore:
        await asyncio.sleep(0.001)


async def fixed():
    semaphore = asyncio.Semaphore(LIMIT)
    await asyncio.gather(*(evaluate(semaphore) for _ in range(3)))
