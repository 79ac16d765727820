"""aiohttp's sessions and cookie jars, httpx' AsyncClient, websockets' connections."""

from __future__ import annotations

from typing import Any

from pytest_loopsafe._adapters.base import Adapter


class AiohttpSession(Adapter):
    """A session belongs to the loop in which it was made."""

    types = ("aiohttp.client.ClientSession", "aiohttp.connector.BaseConnector")
    closers = ("close",)
    remedy = (
        "With aiohttp: `async with ClientSession() as session:` in each loop; a session cannot be "
        "carried over."
    )

    def is_closed(self, resource: Any) -> bool | None:
        """As the session says."""
        return bool(resource.closed)


class AiohttpResponse(Adapter):
    """A response is open until it has been read or released."""

    types = ("aiohttp.client_reqrep.ClientResponse",)
    closers = ("close", "release")
    remedy = (
        "With aiohttp: read the response in its loop, `async with session.get(...) as response:`."
    )

    def is_closed(self, resource: Any) -> bool | None:
        """As the response says."""
        return bool(resource.closed)


class CookieJar(Adapter):
    """A jar asks its loop for the time at most; sessions of several loops may share one."""

    types = ("aiohttp.abc.AbstractCookieJar",)
    closers = ()

    def is_closed(self, resource: Any) -> bool | None:
        """It holds nothing that could be open."""
        return True


class HttpxClient(Adapter):
    """A client's connections belong to the loop that opened them."""

    types = ("httpx.AsyncClient", "httpx._client.AsyncClient")
    closers = ("aclose",)
    remedy = (
        "With httpx: `async with httpx.AsyncClient() as client:` in each loop, or "
        "`LoopLocal(httpx.AsyncClient, close=httpx.AsyncClient.aclose)`."
    )

    def is_closed(self, resource: Any) -> bool | None:
        """As the client says."""
        return bool(resource.is_closed)


class WebSocket(Adapter):
    """A WebSocket belongs to the loop that opened it."""

    types = ("websockets.asyncio.connection.Connection",)
    closers = ("close",)
    remedy = "With websockets: connect anew in each loop, `async with connect(...) as socket:`."

    async def probe(self, resource: Any) -> None:
        """A ping, and its pong."""
        await (await resource.ping())

    def is_closed(self, resource: Any) -> bool | None:
        """As the protocol says."""
        return bool(resource.state.name == "CLOSED")
