"""A log sender's publish() puts the record into an asyncio.Queue, from whatever thread logs.

A step that runs in asyncio.to_thread() logs from there. The consumer waits for the queue in the
loop, which is not told: it sleeps on until something else wakes it, or not at all. Right: publish
through the owner loop's call_soon_threadsafe().
"""

import asyncio
import time

SOURCE = "https://github.com/hatchet-dev/hatchet/issues/3805"
FINDS = ("LS105",)
RUN = {"timeout": 5}  # in debug mode it hangs


class LogSender:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.queue = asyncio.Queue()
        self.late = []

    async def consume(self):
        while (published := await self.queue.get()) is not None:
            self.late.append(time.monotonic() - published > 0.015)

    def publish(self, record):
        self.queue.put_nowait(record)


class ThreadSafeLogSender(LogSender):
    def publish(self, record):
        self.loop.call_soon_threadsafe(self.queue.put_nowait, record)


def step(sender):
    time.sleep(0.005)
    sender.publish(time.monotonic())
    time.sleep(0.02)


async def work(sender):
    consumer = asyncio.create_task(sender.consume())
    await asyncio.to_thread(step, sender)
    sender.queue.put_nowait(None)
    await consumer
    return sender.late


async def broken():
    return await work(LogSender())


async def fixed():
    return await work(ThreadSafeLogSender())
