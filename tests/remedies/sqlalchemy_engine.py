"""An engine of SQLAlchemy's in a global, over asyncpg."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

ADAPTER = "Engine"
SERVER = "postgres"
URL = ""

engine = None
unpooled = None


def address():
    return URL.replace("postgresql:", "postgresql+asyncpg:", 1)


async def ask(engine):
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def broken():
    global engine
    if engine is None:
        engine = create_async_engine(address())
    await ask(engine)


async def remedied_by_dispose():
    engine = create_async_engine(address())
    try:
        await ask(engine)
    finally:
        await engine.dispose()


async def remedied_by_null_pool():
    global unpooled
    if unpooled is None:
        unpooled = create_async_engine(address(), poolclass=NullPool)
    await ask(unpooled)
