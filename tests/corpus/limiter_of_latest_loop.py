"""One global semaphore limits the calls of a process, and each loop that comes by makes it anew.

Two loops live at once, one of the agent and one of its helpers. Each finds the other's semaphore
and puts its own there: the limit holds for nobody, and what the other one holds is forgotten.
Right: a limit for each loop; one for all of them is a threading.Semaphore's work.
"""

import asyncio
import threading
import weakref

SOURCE = "https://github.com/bytedance/deer-flow/pull/4294"
FINDS = ("LS205",)

limiter = limiters_loop = None
limiters = weakref.WeakKeyDictionary()


def shared_limiter():
    global limiter, limiters_loop
    loop = asyncio.get_running_loop()
    if loop is not limiters_loop:
        limiter, limiters_loop = asyncio.Semaphore(4), loop
    return limiter


def own_limiter():
    return limiters.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(4))


def two_loops_in_turn(limiter_of_loop):
    turn, calls = threading.Condition(), 0

    async def call_model(own):
        nonlocal calls
        for _ in range(2):
            with turn:
                turn.wait_for(lambda: calls % 2 == own)
            async with limiter_of_loop():
                await asyncio.sleep(0)
            with turn:
                calls += 1
                turn.notify_all()

    threads = [
        threading.Thread(target=asyncio.run, args=(call_model(number),)) for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def broken():
    two_loops_in_turn(shared_limiter)


def fixed():
    two_loops_in_turn(own_limiter)
