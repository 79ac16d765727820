"""Where everything is."""

from __future__ import annotations

import os


def database_url() -> str:
    """The PostgreSQL, for SQLAlchemy with asyncpg."""
    return os.environ["SHOP_DATABASE_URL"]


def redis_url() -> str:
    """The Redis that has the stock and the notices."""
    return os.environ["SHOP_REDIS_URL"]


def payments_url() -> str:
    """The payment provider."""
    return os.environ["SHOP_PAYMENTS_URL"]


def revision() -> str:
    """Which module of `shop.revisions` opens what the shop uses."""
    return os.environ.get("SHOP_REVISION", "safe")
