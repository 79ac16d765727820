"""A WebSocket is opened with run_until_complete() and subscribed with by asyncio.run().

The second loop writes through the transport of the first, which is paused: the frame does go out
and nothing is raised, but nobody reads the answer, and pings are not answered either. Right: one
asyncio.run() for the connection's whole life.
"""

import asyncio
import contextlib
import threading

import websockets
import websockets.sync.server

SOURCE = "https://github.com/python-websockets/websockets/issues/1178"
FINDS = ("LS104",)


def quote(connection):
    with contextlib.suppress(websockets.ConnectionClosed):
        for message in connection:
            connection.send(f"price of {message}")


@contextlib.contextmanager
def price_server():
    with websockets.sync.server.serve(quote, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


async def connect(url):
    return await websockets.connect(url)


async def subscribe(websocket):
    await websocket.send("instrument 1")


def broken():
    with price_server() as url:
        loop = asyncio.new_event_loop()
        try:
            websocket = loop.run_until_complete(connect(url))
            asyncio.run(subscribe(websocket))
            loop.run_until_complete(websocket.close())
        finally:
            loop.close()


def fixed():
    async def run(url):
        async with websockets.connect(url) as websocket:
            await subscribe(websocket)
            return await websocket.recv()

    with price_server() as url:
        return asyncio.run(run(url))
