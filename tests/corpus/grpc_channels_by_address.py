"""An SDK pools its grpc.aio channels by address, for whichever event loop asks next.

A call through the SDK's own loop leaves its channel in the pool; a call under asyncio.run() to the
same address takes it: "attached to a different loop". The right fix: a channel is used, and
closed, in the loop that it was made in.
"""

import asyncio
import concurrent.futures
import contextlib
from typing import ClassVar

import grpc
import grpc.aio

SOURCE = "https://github.com/nebius/pysdk/issues/178"
FINDS = ("LS101",)


@contextlib.contextmanager
def serving():
    def answer(request, context):
        return request

    handlers = {"Get": grpc.unary_unary_rpc_method_handler(answer)}
    with concurrent.futures.ThreadPoolExecutor(1) as workers:
        server = grpc.server(workers)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Api", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


class Sdk:
    free_channels: ClassVar[dict] = {}

    async def call(self, address):
        free = self.free_channels.setdefault(address, [])
        channel = free.pop() if free else grpc.aio.insecure_channel(address)
        try:
            return await channel.unary_unary("/Api/Get")(b"profile")
        finally:
            free.append(channel)


async def call_and_close(address):
    async with grpc.aio.insecure_channel(address) as channel:
        return await channel.unary_unary("/Api/Get")(b"profile")


def broken():
    sdk = Sdk()
    with serving() as address, asyncio.Runner() as own_loop:
        own_loop.run(sdk.call(address))
        try:
            asyncio.run(sdk.call(address))
        finally:
            own_loop.run(sdk.free_channels.pop(address)[0].close())


def fixed():
    with serving() as address, asyncio.Runner() as own_loop:
        own_loop.run(call_and_close(address))
        asyncio.run(call_and_close(address))
