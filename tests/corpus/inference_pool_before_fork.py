"""A pool with one thread for inference is made once, and used before the server forks.

A worker inherits the pool, which is not None, and its one thread, which is not there: what is
submitted waits in the queue for good, and each request with it. The right fix: note the process
that made the pool, and make another where it is not this one.
"""

import asyncio
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor

SOURCE = "https://github.com/HKUDS/LightRAG/pull/3860"
FINDS = ("LS401",)
RUN = {"schedule": "fork"}

TIMEOUT = 0.05


class Inference:
    def __init__(self):
        self.executor = None
        self.pid = None

    def executor_of_first_use(self):
        if self.executor is None:
            self.executor = ThreadPoolExecutor(1)
        return self.executor

    def executor_of_process(self):
        if self.pid != os.getpid():
            self.executor, self.pid = ThreadPoolExecutor(1), os.getpid()
        return self.executor


def generate():
    return "answer"


inference = Inference()
inference.executor_of_first_use().submit(generate).result()


async def broken():
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        job = loop.run_in_executor(inference.executor_of_first_use(), generate)
        await asyncio.wait_for(job, TIMEOUT)


async def fixed():
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(inference.executor_of_process(), generate)
