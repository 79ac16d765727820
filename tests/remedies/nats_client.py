"""A client of nats-py's in a global."""

import nats

ADAPTER = "NatsClient"
SERVER = "nats"
URL = ""

client = None


async def broken():
    global client
    if client is None:
        client = await nats.connect(URL)
    await client.flush(timeout=1)


async def remedied():
    client = await nats.connect(URL)
    await client.flush(timeout=5)
    await client.drain()
