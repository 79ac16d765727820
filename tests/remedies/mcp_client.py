"""A client of the MCP SDK's in a global."""

from mcp import Client

ADAPTER = "McpClient"
SERVER = "mcp"
URL = ""

client = None


async def broken():
    global client
    if client is None:
        client = await Client(URL).__aenter__()
    await client.list_tools()


async def remedied():
    async with Client(URL) as client:
        await client.list_tools()
