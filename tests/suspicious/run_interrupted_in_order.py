"""Each call has a time limit of its own: what it interrupts is cancelled before the next one."""

import asyncio


class Bridge:
    def __init__(self):
        self.loop = asyncio.new_event_loop()

    def call(self, coroutine, limit):
        task = self.loop.create_task(coroutine)
        timer = self.loop.call_later(limit, self.loop.stop)
        try:
            return self.loop.run_until_complete(task)
        except RuntimeError:
            task.cancel()
            self.loop.run_until_complete(asyncio.wait([task]))
            return None
        finally:
            timer.cancel()


async def slow():
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)


def main():
    bridge = Bridge()
    for _ in range(3):
        bridge.call(slow(), 0.001)
    bridge.loop.close()
