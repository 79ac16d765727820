"""A queue only wakes who sends: what is to be sent is in a list, and close() sends the rest."""

import asyncio


class Sender:
    def __init__(self):
        self.waiting = []
        self.sent = []
        self.wake = asyncio.Queue(maxsize=8)
        self.task = asyncio.create_task(self.send_forever())

    async def send_forever(self):
        while True:
            await self.wake.get()
            self.send_all()

    def send_all(self):
        self.sent += self.waiting
        self.waiting.clear()

    async def send(self, letter):
        self.waiting.append(letter)
        await self.wake.put(None)

    async def close(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.send_all()


async def main():
    sender = Sender()
    await asyncio.sleep(0)
    for letter in ("first", "second", "third"):
        await sender.send(letter)
    await sender.close()
    assert sender.sent == ["first", "second", "third"]
