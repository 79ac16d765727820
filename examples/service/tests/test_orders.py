"""The shop's own tests, written for it and not for event loops."""

from __future__ import annotations

import asyncio

import httpx
from redis.asyncio import Redis


async def _notices(redis: Redis, number: int) -> list[str]:
    """The first notices, as soon as there are so many."""
    found = [await redis.blpop(["notices"], timeout=2) for _ in range(number)]
    return [one[1] for one in found if one is not None]


async def test_an_order_is_paid(client: httpx.AsyncClient) -> None:
    number = (await client.post("/orders", params={"item": "book"})).json()["id"]
    assert (await client.get(f"/orders/{number}")).json() == {"state": "paid"}


async def test_two_at_once(client: httpx.AsyncClient, redis: Redis) -> None:
    answers = await asyncio.gather(
        *(client.post("/orders", params={"item": "book"}) for _ in range(2))
    )
    assert [one.status_code for one in answers] == [201, 201]
    assert await redis.get("stock:book") == "0"


async def test_what_is_sold_out(client: httpx.AsyncClient) -> None:
    answer = await client.post("/orders", params={"item": "globe"})
    assert answer.status_code == 409


async def test_the_customer_is_told(client: httpx.AsyncClient, redis: Redis) -> None:
    number = (await client.post("/orders", params={"item": "book"})).json()["id"]
    assert await _notices(redis, 1) == [f"paid:{number}"]


async def test_there_is_no_such_order(client: httpx.AsyncClient) -> None:
    assert (await client.get("/orders/0")).status_code == 404
