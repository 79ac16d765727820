"""A client of aiobotocore's in a global."""

from contextlib import AsyncExitStack

from aiobotocore.session import get_session

ADAPTER = "BotocoreClient"
SERVER = "http"
URL = ""

session = get_session()
client = None


def settings():
    keys = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anything"}
    return {"endpoint_url": URL, "region_name": "eu-west-1", **keys}


async def broken():
    global client
    if client is None:
        client = await AsyncExitStack().enter_async_context(
            session.create_client("s3", **settings())
        )
    await client.list_buckets()


async def remedied():
    async with session.create_client("s3", **settings()) as client:
        await client.list_buckets()
