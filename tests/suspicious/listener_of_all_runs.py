"""A listening socket that every run accepts from in its turn, and that none of them owns.

What a run accepts it makes a transport of, and closes with it. And a socket that a loop has closed,
which is looked at and made anew before it is given to the next.
"""

import asyncio
import socket


class Reopened:
    sock = socket.socket()
    sock.close()

    def opened(self) -> socket.socket:
        if self.sock.fileno() == -1:
            self.sock = socket.socket()
        return self.sock


async def serve(listener: socket.socket, reopened: Reopened) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_connection(listener.getsockname()) as client:
        accepted, _ = await loop.sock_accept(listener)
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, accepted)
        client.send(b"hello")
        transport.close()
    sock = reopened.opened()
    sock.bind(("127.0.0.1", 0))
    server = await loop.create_server(asyncio.Protocol, sock=sock)
    server.close()
    await asyncio.sleep(0)


def main() -> None:
    reopened = Reopened()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        for _ in range(3):
            asyncio.run(serve(listener, reopened))
