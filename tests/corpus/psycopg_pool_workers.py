"""A psycopg pool is opened in one asyncio.run() and used in the next.

Its worker tasks ended with the loop that opened it. The pool says that it is open and hands out
the connection that it has; one more has to be made by a worker, so the request is queued and ends
in a PoolTimeout: no word of loops. The right fix: open and close it in the run that uses it.
"""

import asyncio

from psycopg_pool import AsyncConnectionPool

SOURCE = "https://github.com/psycopg/psycopg/issues/737"
FINDS = ("LS201",)
SERVERS = ("postgres",)


class Foo:
    def __init__(self, url, timeout):
        self.pool = AsyncConnectionPool(url, min_size=1, max_size=10, timeout=timeout, open=False)

    async def some_func(self):
        async with self.pool.connection() as reads, self.pool.connection() as writes:
            await reads.execute("SELECT 1")
            await writes.execute("SELECT 1")


async def create_foo(url):
    created = Foo(url, timeout=0.05)
    await created.pool.open(wait=True)
    return created


foo = None


def broken(postgres_url):
    global foo
    if foo is None:
        foo = asyncio.run(create_foo(postgres_url))
    asyncio.run(foo.some_func())


async def use_foo(url):
    own = Foo(url, timeout=5)
    async with own.pool:
        await own.some_func()


def fixed(postgres_url):
    asyncio.run(use_foo(postgres_url))
