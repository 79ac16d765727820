"""A cache asks the clock, and a timer frees what is too old, if its loop lives as long."""

import asyncio
import time

entries = {}


async def main():
    entry = entries.get("answer")
    if entry is not None and time.monotonic() < entry[1]:
        return entry[0]
    entries["answer"] = 42, time.monotonic() + 60
    asyncio.get_running_loop().call_later(60, entries.pop, "answer", None)
    return 42
