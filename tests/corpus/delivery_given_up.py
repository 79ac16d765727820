"""A scheduler gives up waiting for a delivery on the gateway's loop, and delivers it once more.

The future of `run_coroutine_threadsafe` is not cancelled with the timeout, so the first delivery
goes on beside the fallback: the user has the message twice. The right fix: cancel the future, and
wait until the coroutine has ended.
"""

import asyncio
import threading

SOURCE = "https://github.com/NousResearch/hermes-agent/pull/13495"
FINDS = ("LS307",)

TIMEOUT = 0.01


class Gateway:
    def __init__(self):
        self.sent = []
        self.is_slow = True
        self.idle = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    async def send(self, message):
        self.idle.clear()
        try:
            while self.is_slow:
                await asyncio.sleep(0.001)
            self.sent.append(message)
        finally:
            self.idle.set()

    def deliver(self, message, *, cancels):
        future = asyncio.run_coroutine_threadsafe(self.send(message), self.loop)
        try:
            future.result(timeout=TIMEOUT)
        except TimeoutError:
            if cancels:
                future.cancel()
                self.idle.wait()
            self.deliver_once_more(message)

    def deliver_once_more(self, message):
        again = asyncio.run_coroutine_threadsafe(self.send(message), self.loop)
        self.is_slow = False
        again.result()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def broken():
    with Gateway() as gateway:
        gateway.deliver("report", cancels=False)


def fixed():
    with Gateway() as gateway:
        gateway.deliver("report", cancels=True)
