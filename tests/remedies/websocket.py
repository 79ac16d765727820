"""A connection of websockets' in a global."""

from websockets.asyncio.client import connect

ADAPTER = "WebSocket"
SERVER = "websocket"
URL = ""

socket = None


async def broken():
    global socket
    if socket is None:
        socket = await connect(URL)
    await socket.send("hello")
    await socket.recv()


async def remedied():
    async with connect(URL) as socket:
        await socket.send("hello")
        await socket.recv()
