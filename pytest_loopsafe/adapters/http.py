"""aiohttp's ClientSession and httpx' AsyncClient."""

from __future__ import annotations

from typing import Any

from pytest_loopsafe.adapters.base import Adapter


class AiohttpSession(Adapter):
    """A session belongs to the loop in which it was made."""

    types = ("aiohttp.client.ClientSession", "aiohttp.connector.BaseConnector")
    closers = ("close",)

    def is_closed(self, resource: Any) -> bool | None:
        """As the session says."""
        return bool(resource.closed)


class HttpxClient(Adapter):
    """A client's connections belong to the loop that opened them."""

    types = ("httpx.AsyncClient", "httpx._client.AsyncClient")
    closers = ("aclose",)

    def is_closed(self, resource: Any) -> bool | None:
        """As the client says."""
        return bool(resource.is_closed)
