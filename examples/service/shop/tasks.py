"""The Celery side: each task runs in a loop of its own."""

from __future__ import annotations

import asyncio

from celery import Celery

from shop import orders
from shop.resources import opened

app = Celery("shop")


@app.task
def confirm_order(number: int) -> str:
    """Confirm an order, and tell the customer."""
    return asyncio.run(_confirm(number))


async def _confirm(number: int) -> str:
    async with opened() as resources:
        await orders.confirm(resources, number)
    return "confirmed"
