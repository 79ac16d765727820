"""What happens to an order."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, update

from shop.resources import Resources

METADATA = MetaData()
ORDERS = Table(
    "orders",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("item", String, nullable=False),
    Column("state", String, nullable=False),
)


class SoldOutError(Exception):
    """There is none left."""


async def place(resources: Resources, item: str) -> int:
    """Take one from the stock, have it paid, and note the order."""
    async with resources.stock:
        if int(await resources.redis.get(f"stock:{item}") or 0) < 1:
            raise SoldOutError(item)
        await resources.redis.decr(f"stock:{item}")
    answer = await resources.payments.post("/charges", json={"item": item})
    answer.raise_for_status()
    async with resources.engine.begin() as connection:
        result = await connection.execute(
            insert(ORDERS).values(item=item, state="paid").returning(ORDERS.c.id)
        )
        number: int = result.scalar_one()
    await resources.notices.put(f"paid:{number}")
    return number


async def state(resources: Resources, number: int) -> str | None:
    """How far an order is; None where there is no such order."""
    async with resources.engine.connect() as connection:
        return await connection.scalar(select(ORDERS.c.state).where(ORDERS.c.id == number))


async def confirm(resources: Resources, number: int) -> None:
    """Say that an order is on its way."""
    async with resources.engine.begin() as connection:
        await connection.execute(
            update(ORDERS).where(ORDERS.c.id == number).values(state="confirmed")
        )
    await resources.notices.put(f"confirmed:{number}")
    await resources.notices.join()
