"""PyMongo's asynchronous client, and Motor's."""

from __future__ import annotations

from typing import Any

from pytest_loopsafe._adapters.base import Adapter


class MongoClient(Adapter):
    """A client remembers the loop of its first use, and its monitors are tasks of that loop."""

    types = ("pymongo.asynchronous.mongo_client.AsyncMongoClient",)
    closers = ("close",)
    remedy = "With PyMongo: `async with AsyncMongoClient(...) as client:` in each loop."

    async def probe(self, resource: Any) -> None:
        """``ping``."""
        await resource.admin.command("ping")

    def is_closed(self, resource: Any) -> bool | None:
        """As the client says; one that was never used holds nothing."""
        closed = vars(resource).get("_closed")
        return None if closed is None else bool(closed) or not vars(resource).get("_opened")


class MotorClient(Adapter):
    """A client posts what its threads have done to the loop of its first use."""

    types = ("motor.core.AgnosticClient",)
    closers = ("close",)
    remedy = (
        "With Motor: make an AsyncIOMotorClient in each loop, and `client.close()` before it ends; "
        "or PyMongo's own AsyncMongoClient, in whose favour Motor has been given up."
    )

    async def probe(self, resource: Any) -> None:
        """``ping``."""
        await resource.admin.command("ping")

    def is_closed(self, resource: Any) -> bool | None:
        """As the client of PyMongo's says that it wraps."""
        wrapped = vars(resource).get("delegate")
        closed = getattr(wrapped, "__dict__", {}).get("_closed")
        return None if closed is None else bool(closed)
