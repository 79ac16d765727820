"""A worker's parent validates its database connection, and forks children that inherit the pool.

All of them talk over the parent's one socket: answers are off by one, or go to somebody else. The
driver waits with the socket's number alone. Right: each child drops the pool that it inherited,
without closing the parent's sockets, before it takes its first connection.
"""

import asyncio
import os
import warnings

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

SOURCE = "https://github.com/ai-shifu/ai-shifu/pull/2317"
FINDS = ("LS402",)
SERVERS = ("postgres",)
RUN = {"loops": 1}


async def validate(engine):
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def close(engine):
    await engine.dispose()


def forked(work):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def worker(postgres_url, prepare):
    engine = create_async_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with asyncio.Runner() as runner:
        runner.run(validate(engine))

        def child():
            prepare(engine)
            asyncio.run(validate(engine))

        forked(child)
        try:
            runner.run(validate(engine))
        finally:
            runner.run(close(engine))


def broken(postgres_url):
    worker(postgres_url, id)


def fixed(postgres_url):
    worker(postgres_url, lambda engine: engine.sync_engine.dispose(close=False))
