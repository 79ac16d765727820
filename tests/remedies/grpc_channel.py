"""A channel of grpc.aio's in a global."""

import grpc.aio

ADAPTER = "GrpcChannel"
SERVER = "grpc"
URL = ""

channel = None


async def broken():
    global channel
    if channel is None:
        channel = grpc.aio.insecure_channel(URL)
    await channel.unary_unary("/Api/Get")(b"profile")


async def remedied():
    async with grpc.aio.insecure_channel(URL) as channel:
        await channel.unary_unary("/Api/Get")(b"profile")
