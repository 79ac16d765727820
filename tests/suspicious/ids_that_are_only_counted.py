"""Loops are counted by their id(), and named in a log: nobody decides by it."""

import asyncio
import collections
import threading

seen = set()
where = {}
counts = collections.Counter()


class Status:
    loop_id = None


async def main():
    number = id(asyncio.get_running_loop())
    seen.add(number)
    where[number] = threading.current_thread().name
    counts[number] += 1
    Status.loop_id = number
    return f"loop {Status.loop_id}, one of {len(seen)}"
