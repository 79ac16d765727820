"""What the shop uses while it serves; a revision says how it comes by it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module

import httpx
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from shop import settings


@dataclass(frozen=True)
class Resources:
    """All of it bound to a loop sooner or later.

    Attributes:
        engine: the database.
        redis: stock and notices.
        payments: a client of the payment provider.
        stock: held while the stock is looked at and changed.
        notices: what the outbox has yet to send.
    """

    engine: AsyncEngine
    redis: Redis
    payments: httpx.AsyncClient
    stock: asyncio.Lock
    notices: asyncio.Queue[str]


def opened() -> AbstractAsyncContextManager[Resources]:
    """The resources of one run of the application, as the revision opens them."""
    return import_module(f"shop.revisions.{settings.revision()}").opened()
