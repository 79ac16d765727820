"""The MCP SDK's clients and sessions."""

from __future__ import annotations

from typing import Any

from pytest_loopsafe._adapters.base import Adapter

_RECEIVER = "what receives the answers is a task of the loop that connected."


class McpClient(Adapter):
    """A client, which is open between its ``__aenter__`` and its ``__aexit__``."""

    types = ("mcp.client.client.Client",)
    closers = ()
    remedy = (
        "With MCP: connect anew in each loop, `async with Client(...) as client:`; " + _RECEIVER
    )

    async def probe(self, resource: Any) -> None:
        """Ask for the tools."""
        await resource.list_tools()

    def is_closed(self, resource: Any) -> bool | None:
        """Closed means that it has given up its session."""
        return vars(resource).get("_session") is None


class McpSession(Adapter):
    """A session, whose answers are received by a task."""

    types = ("mcp.client.session.ClientSession",)
    closers = ()
    remedy = (
        "With MCP: connect anew in each loop, `async with ClientSession(...) as session:` within "
        "the `async with` of its transport; " + _RECEIVER
    )

    async def probe(self, resource: Any) -> None:
        """Ask for the tools."""
        await resource.list_tools()
