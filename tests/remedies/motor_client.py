"""A client of Motor's in a global."""

from motor.motor_asyncio import AsyncIOMotorClient

ADAPTER = "MotorClient"
SERVER = "mongo"
URL = ""

client = None


async def broken():
    global client
    if client is None:
        client = AsyncIOMotorClient(URL)
    await client.admin.command("ping")


async def remedied():
    client = AsyncIOMotorClient(URL)
    await client.admin.command("ping")
    client.close()
