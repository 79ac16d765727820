"""One loop is made at the first call, kept for as long as the process lives, and used by all."""

import asyncio
import atexit

NOT_IN_LOOPS_AT_ONCE = "two threads would drive the one loop at once"


class Bridge:
    loop = None
    lock = None

    def call(self):
        if self.loop is None:
            self.loop = asyncio.new_event_loop()
            atexit.register(self.loop.close)
        return self.loop.run_until_complete(self.work())

    async def work(self):
        if self.lock is None:
            self.lock = asyncio.Lock()
        await asyncio.gather(self.step(), self.step())

    async def step(self):
        async with self.lock:
            await asyncio.sleep(0)


bridge = Bridge()


def main():
    bridge.call()
