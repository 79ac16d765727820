"""A worker is kept, and asked whether it still runs before it is relied on; it ends in order."""

import asyncio

NOT_IN_LOOPS_AT_ONCE = "one loop would rely on, or stop, the worker of another that still runs"


class Worker:
    task = None

    def ensure(self):
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(asyncio.sleep(60))

    async def stop(self):
        if self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.wait([self.task])


worker = Worker()
demands = ["one"]


async def main():
    if demands:
        demands.pop()
        worker.ensure()
        await asyncio.sleep(0)
    await worker.stop()
