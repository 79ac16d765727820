"""Each loop gets its handler where it is first asked for, and is remembered by itself."""

import asyncio
import weakref

prepared = weakref.WeakSet()


def report(loop, context):
    raise AssertionError(context["message"])


async def main():
    loop = asyncio.get_running_loop()
    if loop not in prepared:
        prepared.add(loop)
        loop.set_exception_handler(report)
    await asyncio.sleep(0)
