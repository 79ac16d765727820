"""A timer lets an entry go after a while; a later loop starts with what it finds, and cleans up."""

import asyncio

recent = {}


async def main():
    for key, timer in list(recent.items()):
        timer.cancel()
        del recent[key]
    recent["a"] = asyncio.get_running_loop().call_later(60, recent.pop, "a", None)
