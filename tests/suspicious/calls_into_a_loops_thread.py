"""A loop in a thread of its own: who gives up cancels, who is patient asks again."""

import asyncio
import threading


class Background:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.begun = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)

    async def fetch(self):
        self.begun.release()
        try:
            await asyncio.sleep(60)
        finally:
            self.ended.release()

    async def answer(self):
        await asyncio.sleep(0.01)
        return 1

    def fetch_or_give_up(self):
        future = asyncio.run_coroutine_threadsafe(self.fetch(), self.loop)
        try:
            return future.result(0.001)
        except TimeoutError:
            self.begun.acquire()  # what has not begun would never end
            future.cancel()
            return None

    def ask_until_it_is_there(self):
        future = asyncio.run_coroutine_threadsafe(self.answer(), self.loop)
        while True:
            try:
                return future.result(0.001)
            except TimeoutError:
                continue

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def main():
    background = Background()
    for _ in range(3):
        background.fetch_or_give_up()
        background.ended.acquire()
        background.ask_until_it_is_there()
    background.close()
