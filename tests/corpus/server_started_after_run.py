"""A server asks for the loop that its start-up has installed, and a run in between took it away.

asyncio.run() ends with set_event_loop(None), whatever was there: a check of a folder at start-up
is enough. Right: the server runs the loop that it has made, and asks nobody for it.
"""

import asyncio
import logging

SOURCE = "https://github.com/Kludex/uvicorn/issues/1146"
FINDS = ("LS305",)


async def check_folder():
    await asyncio.sleep(0)


class Server:
    def __init__(self):
        self.served = 0

    def setup_event_loop(self):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)

    async def serve(self):
        await asyncio.sleep(0)
        self.served += 1

    def close(self):
        asyncio.set_event_loop(None)
        self.loop.close()


def broken():
    server = Server()
    server.setup_event_loop()
    asyncio.run(check_folder())  # the application's own module, as the server loads it
    try:
        loop = asyncio.get_event_loop()
        loop.run_until_complete(server.serve())
    except RuntimeError:
        logging.getLogger("server").exception("not started")
        raise
    finally:
        server.close()


def fixed():
    server = Server()
    server.setup_event_loop()
    try:
        asyncio.run(check_folder())
        server.loop.run_until_complete(server.serve())
    finally:
        server.close()
    assert server.served
