"""A tracer patches how the current loop makes tasks, and marks the module as patched.

"If a new event loop is started, any patched functions would be missing": the mark keeps the second
loop from being patched, and its tasks have lost their parent. Right: patch each loop where it is
made.
"""

import asyncio

SOURCE = "https://github.com/DataDog/dd-trace-py/pull/1661"
FINDS = ("LS209",)


class Tracing:
    patched = False


parents = []


def wrapped_create_task(loop, coro, **kwargs):
    parent = asyncio.current_task(loop)
    parents.append(parent.get_name() if parent is not None else None)
    return asyncio.Task(coro, loop=loop, **kwargs)


def patch():
    if getattr(Tracing, "patched", False):
        return
    Tracing.patched = True
    asyncio.get_event_loop().set_task_factory(wrapped_create_task)


async def handle(request):
    await asyncio.sleep(0)
    return request


async def broken():
    patch()
    return await asyncio.create_task(handle("request"))


def patched_loop():
    loop = asyncio.new_event_loop()
    loop.set_task_factory(wrapped_create_task)
    return loop


def fixed():
    with asyncio.Runner(loop_factory=patched_loop) as runner:
        return runner.run(handle("request"))
