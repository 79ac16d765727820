"""aiosqlite: a connection is a thread that answers to the loop which asked."""

from __future__ import annotations

from typing import Any

from pytest_loopsafe._adapters.base import Adapter


class AiosqliteConnection(Adapter):
    """An aiosqlite connection."""

    types = ("aiosqlite.core.Connection",)
    closers = ("close",)
    remedy = "With aiosqlite: `async with aiosqlite.connect(path) as connection:` in each loop."

    async def probe(self, resource: Any) -> None:
        """``SELECT 1``."""
        await resource.execute_fetchall("SELECT 1")

    def is_closed(self, resource: Any) -> bool | None:
        """Closed means that it has given up its connection."""
        return getattr(resource, "_connection", None) is None
