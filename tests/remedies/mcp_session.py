"""A session of the MCP SDK's in a global, over a transport that is its own."""

from contextlib import AsyncExitStack

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

ADAPTER = "McpSession"
SERVER = "mcp"
URL = ""

session = None


async def broken():
    global session
    if session is None:
        stack = AsyncExitStack()
        streams = await stack.enter_async_context(streamable_http_client(URL))
        session = await stack.enter_async_context(ClientSession(*streams[:2]))
        await session.initialize()
    await session.list_tools()


async def remedied():
    async with streamable_http_client(URL) as streams:
        async with ClientSession(*streams[:2]) as session:
            await session.initialize()
            await session.list_tools()
