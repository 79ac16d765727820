"""A NATS client is connected in a run and never closed.

Its reader, flusher and ping tasks are pending when the loop ends ("Task was destroyed but it is
pending!", one for each), and its connection stays open. The right fix: close the client where it
was connected.
"""

import nats

SOURCE = "https://github.com/nats-io/nats.py/issues/383"
FINDS = ("LS301", "LS303")
SERVERS = ("nats",)


async def broken(nats_url):
    client = await nats.connect(nats_url)
    await client.publish("stream1", b"message")
    await client.flush()


async def fixed(nats_url):
    async with await nats.connect(nats_url) as client:
        await client.publish("stream1", b"message")
        await client.flush()
