"""A restart without a gap: the next server listens on the port before its predecessor is closed.

Both are closed in their own loops, in time; for a moment both have a share of the connections.
"""

import asyncio
import socket


def free_port() -> int:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def start(port: int) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(asyncio.Protocol, "127.0.0.1", port, reuse_port=True)


async def stop(server: asyncio.Server) -> None:
    server.close()
    await asyncio.sleep(0)


def main() -> None:
    port = free_port()
    with asyncio.Runner() as later:
        with asyncio.Runner() as earlier:
            old = earlier.run(start(port))
            new = later.run(start(port))
            earlier.run(stop(old))
        later.run(stop(new))
