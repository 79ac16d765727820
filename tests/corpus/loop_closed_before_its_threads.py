"""A helper runs a coroutine on a new loop and closes that by hand, before its threads are done.

`loop.close()` does not wait for the default executor, as `asyncio.run()` does: the upload that the
coroutine has begun goes on in its thread, beside the next one of the same, and its result is lost.
The right fix: `loop.shutdown_default_executor()` before the close.
"""

import asyncio
import threading

SOURCE = "https://github.com/run-llama/llama_index/pull/22096"
FINDS = ("LS307",)


class Index:
    def __init__(self):
        self.released = threading.Event()
        self.stored = []

    def upload(self, document):
        self.released.wait()
        self.stored.append(document)

    async def insert(self, document):
        asyncio.get_running_loop().run_in_executor(None, self.upload, document)


def run_on_new_loop(coroutine, *, in_order):
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(coroutine)
        if in_order:
            loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def broken():
    index = Index()
    for document in range(2):
        run_on_new_loop(index.insert(document), in_order=False)
    index.released.set()


def fixed():
    index = Index()
    index.released.set()
    for document in range(2):
        run_on_new_loop(index.insert(document), in_order=True)
