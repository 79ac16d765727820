"""An engine that keeps no connection is shared by all loops: the documented remedy."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

NOT_IN_LOOPS_AT_ONCE = "SQLAlchemy guards an engine's first connection with one asyncio.Lock"

engine = create_async_engine("sqlite+aiosqlite://", poolclass=NullPool)


async def ask():
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def main():
    await asyncio.gather(ask(), ask())
