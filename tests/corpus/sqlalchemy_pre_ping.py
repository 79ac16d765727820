"""A singleton store whose SQLAlchemy engine pings its pooled asyncpg connections before use.

The ping runs on a connection of an earlier, closed loop: it raises, and ending that connection
raises "Event loop is closed". It is thrown away all the same, so the run after that works again:
every second one fails. Pinging is no remedy; the engine has to be disposed of in its own loop.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

SOURCE = "https://github.com/cbcoutinho/nextcloud-mcp-server/pull/799"
FINDS = ("LS101", "LS103")
SERVERS = ("postgres",)


class Storage:
    def __init__(self, url):
        url = url.replace("postgresql:", "postgresql+asyncpg:", 1)
        self.engine = create_async_engine(url, pool_size=2, max_overflow=5, pool_pre_ping=True)

    async def user_exists(self):
        async with self.engine.connect() as connection:
            return await connection.scalar(text("SELECT 1"))


storage = None


async def broken(postgres_url):
    global storage
    if storage is None:
        storage = Storage(postgres_url)
    await storage.user_exists()


async def fixed(postgres_url):
    own = Storage(postgres_url)
    try:
        await own.user_exists()
    finally:
        await own.engine.dispose()
