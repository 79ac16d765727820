"""The first run prepares something in a loop of its own, whose exceptions it handles itself."""

import asyncio

NOT_IN_LOOPS_AT_ONCE = "each would prepare"

is_prepared = False


async def prepare():
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    await asyncio.sleep(0)


async def work():
    await asyncio.sleep(0)


def main():
    global is_prepared
    if not is_prepared:
        is_prepared = True
        asyncio.run(prepare())
    asyncio.run(work())
