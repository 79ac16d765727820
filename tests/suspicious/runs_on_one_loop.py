"""A service behind a sync interface: one loop, many runs, a consumer that lives in between."""

import asyncio


class Service:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.rows = []
        self.background = set()
        self.call(self.start())

    def call(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    async def start(self):
        self.queue = asyncio.Queue()
        self.consumer = asyncio.create_task(self.consume())

    async def consume(self):
        while True:
            self.rows.append(await self.queue.get())
            self.queue.task_done()

    async def write(self, row):
        task = asyncio.create_task(self.audit(row))
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        self.queue.put_nowait(row)
        await asyncio.sleep(0)

    async def audit(self, row):
        for _ in range(5):
            await asyncio.sleep(0)

    async def flush(self):
        await self.queue.join()
        await asyncio.gather(*self.background)

    def close(self):
        self.consumer.cancel()
        self.call(asyncio.wait([self.consumer]))
        self.call(self.loop.shutdown_asyncgens())
        self.call(self.loop.shutdown_default_executor())
        self.loop.close()


def main():
    service = Service()
    for row in range(3):
        service.call(service.write(row))
        service.call(service.flush())
    service.close()
