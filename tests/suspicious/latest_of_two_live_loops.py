"""Two loops in threads note their latest client in one variable; each has its own to work with."""

import asyncio
import threading
import weakref

latest = None
clients = weakref.WeakKeyDictionary()


class Client:
    def __init__(self):
        self.lock = asyncio.Lock()

    async def ask(self):
        async with self.lock:
            await asyncio.sleep(0)


def in_turn(body):
    turn, now = threading.Condition(), [0]

    async def main(own):
        for _ in range(3):
            with turn:
                turn.wait_for(lambda: now[0] % 2 == own)
            await body()
            with turn:
                now[0] += 1
                turn.notify_all()

    threads = [threading.Thread(target=asyncio.run, args=(main(own),)) for own in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def ask():
    global latest
    loop = asyncio.get_running_loop()
    if loop not in clients:
        clients[loop] = Client()
    latest = weakref.ref(clients[loop])
    await clients[loop].ask()
    await Client().ask()


def main():
    in_turn(ask)
