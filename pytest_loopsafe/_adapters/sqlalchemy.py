"""SQLAlchemy's AsyncEngine, whatever its driver."""

from __future__ import annotations

from typing import Any

from pytest_loopsafe._adapters.base import Adapter


class Engine(Adapter):
    """An engine holds a pool of connections, each bound to the loop that opened it."""

    types = ("sqlalchemy.ext.asyncio.engine.AsyncEngine",)
    closers = ("dispose",)
    remedy = (
        "With SQLAlchemy: an engine for each loop, `await engine.dispose()` before the loop ends; "
        "or `poolclass=NullPool`, which keeps no connection from one loop to the next."
    )

    async def probe(self, resource: Any) -> None:
        """``SELECT 1``."""
        async with resource.connect() as connection:
            await connection.exec_driver_sql("SELECT 1")

    def is_closed(self, resource: Any) -> bool | None:
        """Disposed means that the pool has no connection; an engine may be used again."""
        pool = getattr(resource, "pool", None)
        counts = [getattr(pool, name, None) for name in ("checkedin", "checkedout")]
        if not all(callable(one) for one in counts):
            return None  # a NullPool, a StaticPool
        return not any(one() for one in counts if one is not None)
