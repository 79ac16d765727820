"""The answer of a request is put into the Redis cache by a task that nobody waits for.

In a script the loop ends as soon as the answer is there: asyncio.run() cancels the write, the
script exits with 0, the cache stays empty and every run pays for the same answer again. Right: a
task group waits for the writes.
"""

import asyncio

import redis.asyncio

SOURCE = "https://github.com/BerriAI/litellm/pull/38385"
FINDS = ("LS301",)
SERVERS = ("redis",)


async def store(redis_url, prompt, answer):
    async with redis.asyncio.from_url(redis_url) as cache:
        await cache.set(prompt, answer)


def completion(redis_url, prompt, create_task):
    answer = prompt.upper()
    create_task(store(redis_url, prompt, answer))
    return answer


async def broken(redis_url):
    return completion(redis_url, "prompt", asyncio.create_task)


async def fixed(redis_url):
    async with asyncio.TaskGroup() as writes:
        return completion(redis_url, "prompt", writes.create_task)
