"""A sync client's call is interrupted with Ctrl-C, and its task answers into the next call.

`run_sync` wraps each method of the client in `loop.run_until_complete()`. What a KeyboardInterrupt
leaves behind is not cancelled: the next call runs it on, and it takes the message that the new call
waits for. The right fix: cancel the task, and run the loop until it has ended.
"""

import asyncio
import contextlib

SOURCE = "https://github.com/jupyter/jupyter_client/issues/696"
FINDS = ("LS307",)


class BlockingClient:
    def __init__(self, run):
        self.loop = asyncio.new_event_loop()
        self.run = run
        self.messages = []
        self.calls = 0

    async def get_message(self):
        self.calls += 1
        if self.calls == 1:
            self.loop.call_soon(press_ctrl_c)
        while not self.messages:
            await asyncio.sleep(0)
        return self.messages.pop()

    def call(self):
        self.loop.call_later(0.01, self.messages.extend, [1, 2])
        return self.run(self.loop, self.get_message())


def press_ctrl_c():
    raise KeyboardInterrupt


def run_sync(loop, coroutine):
    return loop.run_until_complete(coroutine)


def run_and_cancel(loop, coroutine):
    task = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(task)
    except BaseException:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        raise


def call_twice(client):
    with contextlib.suppress(KeyboardInterrupt):
        client.call()
    client.messages.clear()
    client.call()
    client.loop.close()


def broken():
    call_twice(BlockingClient(run_sync))


def fixed():
    call_twice(BlockingClient(run_and_cancel))
