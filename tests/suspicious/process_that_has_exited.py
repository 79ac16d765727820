"""A process without pipes ran once, has exited, and is still asked for its result."""

import asyncio
import sys

ALONE = "two at once would start two processes"
NOT_IN_LOOPS_AT_ONCE = "one loop would wait for the process of another that still runs"


class Tool:
    process = None

    async def result(self):
        if self.process is None:
            self.process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "pass")
        return await self.process.wait()


tool = Tool()


async def main():
    assert await tool.result() == 0
