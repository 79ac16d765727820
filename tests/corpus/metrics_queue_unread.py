"""Metrics are queued for a background worker; the process is told to stop and the loop ends.

The worker is cancelled with what is still in the queue, and record() has long returned: the last
metrics of every run are lost, and nothing is raised. Right: wait for the queue to be empty, then
end the worker.
"""

import asyncio
import contextlib

SOURCE = "https://github.com/atlanhq/application-sdk/pull/1723"
FINDS = ("LS301", "LS306")

sent = []


class SegmentClient:
    def __init__(self):
        self.queue = asyncio.Queue()
        self.worker = asyncio.create_task(self.process_queue())

    def record(self, metric):
        self.queue.put_nowait(metric)

    async def process_queue(self):
        while True:
            metric = await self.queue.get()
            await asyncio.sleep(0.001)  # the request
            sent.append(metric)
            self.queue.task_done()


async def workflow(client):
    await asyncio.sleep(0)
    for metric in ("started", "fetched", "finished"):
        client.record(metric)


async def broken():
    await workflow(SegmentClient())


async def fixed():
    client = SegmentClient()
    try:
        await workflow(client)
        await client.queue.join()
    finally:
        client.worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await client.worker
