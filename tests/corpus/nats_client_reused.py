"""A NATS client is connected on first use and kept in a global for the runs that follow.

Its reader, flusher and ping tasks ended with their loop, yet it says that it is connected: what it
publishes still reaches the wire, the answers are never read, so every later request times out.
The right fix: connect, use and close within one run.
"""

import nats
import nats.errors

SOURCE = "https://github.com/nats-io/nats.py/issues/724"
FINDS = ("LS103", "LS207")
SERVERS = ("nats",)

client = None


async def acknowledge(message):
    await message.respond(b"ack")


async def broken(nats_url):
    global client
    if client is None:
        client = await nats.connect(nats_url)
        await client.subscribe("jobs", cb=acknowledge)
    try:
        await client.request("jobs", b"job", timeout=0.05)
    except nats.errors.TimeoutError:
        assert client.is_connected


async def fixed(nats_url):
    async with await nats.connect(nats_url) as own:
        await own.subscribe("jobs", cb=acknowledge)
        await own.request("jobs", b"job", timeout=5)
