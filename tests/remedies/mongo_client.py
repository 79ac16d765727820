"""An asynchronous client of PyMongo's in a global."""

from pymongo import AsyncMongoClient

ADAPTER = "MongoClient"
SERVER = "mongo"
URL = ""

client = None


async def broken():
    global client
    if client is None:
        client = AsyncMongoClient(URL)
    await client.admin.command("ping")


async def remedied():
    async with AsyncMongoClient(URL) as client:
        await client.admin.command("ping")
