"""A job says that it runs, is cancelled at the end of each run, and says that, too."""

import asyncio
import contextlib

ALONE = "two at once would each find the other's job running"


class Job:
    state = "idle"

    async def run(self):
        if self.state == "running":
            raise RuntimeError("it runs already")
        self.state = "running"
        try:
            await asyncio.Event().wait()
            self.state = "done"
        except asyncio.CancelledError:
            self.state = "cancelled"
            raise

    @contextlib.contextmanager
    def busy(self):
        if self.state == "running":
            raise RuntimeError("it runs already")
        self.state = "running"
        try:
            yield
        finally:
            self.state = "idle"

    async def run_in_a_block(self):
        with self.busy():
            await asyncio.Event().wait()


job, other = Job(), Job()


async def main():
    tasks = [asyncio.create_task(job.run()), asyncio.create_task(other.run_in_a_block())]
    await asyncio.sleep(0)
    for task in tasks:
        assert not task.done()
        task.cancel()
    await asyncio.wait(tasks)
