"""An integration sets itself up once for the process, and what it sets up is a loop's task factory.

`init()` is called in each run, but the set of what was set up already keeps it from the second loop
on from getting its factory: no task is traced there, and nothing is said. Right: ask the loop for
its factory, and not a set.
"""

import asyncio

SOURCE = "https://github.com/getsentry/sentry-python/issues/2333"
FINDS = ("LS209",)

spans = []
processed = set()


def patch_asyncio():
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()

    def traced(loop, coro, **kwargs):
        async def with_span():
            spans.append(coro.__qualname__)
            return await coro

        if before is not None:
            return before(loop, with_span(), **kwargs)
        return asyncio.Task(with_span(), loop=loop, **kwargs)

    traced.is_ours = True
    loop.set_task_factory(traced)


class AsyncioIntegration:
    identifier = "asyncio"

    @staticmethod
    def setup_once():
        patch_asyncio()


def init(integrations):
    for integration in integrations:
        if integration.identifier not in processed:
            type(integration).setup_once()
            processed.add(integration.identifier)


async def fib(n):
    if n < 2:
        return n
    one = asyncio.create_task(fib(n - 1))
    return await one + await asyncio.create_task(fib(n - 2))


async def broken():
    init([AsyncioIntegration()])
    return await fib(3)


async def fixed():
    factory = asyncio.get_running_loop().get_task_factory()
    if not getattr(factory, "is_ours", False):
        patch_asyncio()
    return await fib(3)
