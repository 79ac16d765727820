"""A lock guards what is made once: the first loop's tasks contend for it, and later ones do not."""

import asyncio

NOT_IN_LOOPS_AT_ONCE = "all that live then may be the first, and contend for one lock"


class Registry:
    def __init__(self):
        self._lock = asyncio.Lock()
        self._data = None

    async def data(self):
        if self._data is None:
            async with self._lock:
                if self._data is None:
                    await asyncio.sleep(0)
                    self._data = {"a": 1}
        return self._data


registry = Registry()


async def main():
    await asyncio.gather(registry.data(), registry.data())
