"""A data loader of the module takes the loop that is there when it is first used, for good.

The second request's keys are put into its queue, and to have them loaded is asked of a loop that
is closed; the third one's find the queue filled, wait for whoever was to empty it, and for a future
of the first loop. The right fix: a loader for each request.
"""

import asyncio
import contextlib

SOURCE = "https://github.com/graphql-python/graphene/pull/1459"
FINDS = ("LS101", "LS103")


class DataLoader:
    def __init__(self, load_batch):
        self.load_batch = load_batch
        self._loop = None
        self._queue = []

    @property
    def loop(self):
        if self._loop is None:
            self._loop = asyncio.get_event_loop()
        return self._loop

    def load(self, key):
        future = self.loop.create_future()
        self._queue.append((key, future))
        if len(self._queue) == 1:
            self.loop.call_soon(self.dispatch)
        return future

    def dispatch(self):
        queue, self._queue = self._queue, []
        asyncio.ensure_future(self.resolve(queue))

    async def resolve(self, queue):
        values = await self.load_batch([key for key, _ in queue])
        for (_, future), value in zip(queue, values, strict=True):
            future.set_result(value)


async def load_users(keys):
    await asyncio.sleep(0)
    return [f"user {key}" for key in keys]


users = DataLoader(load_users)


async def broken():
    with contextlib.suppress(RuntimeError):  # as the error of a field, beside the other fields
        return await users.load(1)


async def fixed():
    own = DataLoader(load_users)
    return await asyncio.gather(own.load(1), own.load(2))
