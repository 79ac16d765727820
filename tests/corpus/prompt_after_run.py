"""A prompt keeps to the loop that get_event_loop() gives, and a command calls asyncio.run().

The shell's writer asks for the loop each time it prints, and swallows what goes wrong with that:
from the first command on nothing is printed. Right: the shell hands its loop to who needs it.
"""

import asyncio

SOURCE = "https://github.com/ipython/ipython/issues/12000"
FINDS = ("LS305",)


async def command():
    await asyncio.sleep(0)


async def show(lines, line):
    await asyncio.sleep(0)
    lines.append(line)


class Writer:
    def __init__(self, loop=None):
        self.loop = loop
        self.lines = []

    def write(self, line):
        try:
            loop = self.loop or asyncio.get_event_loop()
            loop.run_until_complete(show(self.lines, line))
        except Exception:
            pass  # a shell does not end over a line


def shell(make_writer):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        writer = make_writer(loop)
        writer.write("ready")
        asyncio.run(command())
        writer.write("done")
        return writer.lines
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def broken():
    return shell(lambda loop: Writer())


def fixed():
    assert shell(Writer) == ["ready", "done"]
