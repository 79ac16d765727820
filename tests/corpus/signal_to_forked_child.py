"""A server that handles SIGTERM forks a process for a job, and ends the job with ``terminate()``.

The child has the loop's handler, which does nothing by itself, and before Python 3.12 its wake-up
descriptor, too: then the server shuts down instead of the child, and since then nobody does. Right:
the child first of all takes its signals back.
"""

import asyncio
import multiprocessing
import signal
import warnings

SOURCE = "https://github.com/fastapi/fastapi/issues/1487"
FINDS = ("LS401",)

forking = multiprocessing.get_context("fork")


def job(ready, end, prepare):
    prepare()
    ready.set()
    end.wait()


def taken_back():
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


async def serve(prepare):
    loop = asyncio.get_running_loop()
    stopping = []
    loop.add_signal_handler(signal.SIGTERM, stopping.append, True)
    ready, end = forking.Event(), forking.Event()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            process = forking.Process(target=job, args=(ready, end, prepare))
            process.start()
        ready.wait()
        process.terminate()
        if prepare is not taken_back:
            process.join(0.2)
            end.set()
        process.join()
        process.close()
        await asyncio.sleep(0.01)
        if stopping:
            print("shutting down")
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def broken():
    await serve(int)


async def fixed():
    await serve(taken_back)
