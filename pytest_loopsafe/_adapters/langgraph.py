"""LangGraph's checkpointers over sqlite and postgres."""

from __future__ import annotations

from typing import Any

from pytest_loopsafe._adapters.base import Adapter


class Checkpointer(Adapter):
    """A saver has a lock and remembers the loop in which it was made."""

    types = (
        "langgraph.checkpoint.sqlite.aio.AsyncSqliteSaver",
        "langgraph.checkpoint.postgres.aio.AsyncPostgresSaver",
    )
    closers = ()
    remedy = (
        "With LangGraph: make the checkpointer in each loop, `async with ...from_conn_string(...) "
        "as saver:`."
    )

    async def probe(self, resource: Any) -> None:
        """Ask for a thread that does not exist."""
        await resource.aget_tuple({"configurable": {"thread_id": "pytest-loopsafe"}})

    def is_closed(self, resource: Any) -> bool | None:
        """Closed means that what it stores through is."""
        store = getattr(resource, "conn", None)
        if hasattr(store, "_running"):  # aiosqlite
            return getattr(store, "_connection", None) is None
        closed = getattr(store, "closed", None)
        return bool(closed) if closed is not None else None
