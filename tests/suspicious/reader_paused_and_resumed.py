"""A feed is read while somebody asks for it, and the loop's reader is taken back by then."""

import asyncio
import socket

NOT_IN_LOOPS_AT_ONCE = "there is one feed"


class Feed:
    def __init__(self):
        self.users = 0

    async def first(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.send(b"x")
            if self.users == 0:
                self.socket = ours
                self.came = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().add_reader(ours, self.read)
            self.users += 1
            try:
                return await self.came
            finally:
                self.users -= 1
                if self.users == 0:
                    asyncio.get_running_loop().remove_reader(self.socket)

    def read(self):
        if not self.came.done():
            self.came.set_result(self.socket.recv(1))


feed = Feed()


async def main():
    return await feed.first()
