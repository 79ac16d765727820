"""aiobotocore's clients, which aioboto3's are too."""

from __future__ import annotations

from typing import Any

from pytest_loopsafe._adapters.base import Adapter


class BotocoreClient(Adapter):
    """A client of any service has a session of aiohttp's, and its pool."""

    types = ("aiobotocore.client.AioBaseClient",)
    closers = ("close",)
    remedy = (
        "With aiobotocore and aioboto3: `async with session.create_client(...) as client:` in each "
        "loop; the session may be kept."
    )

    def is_closed(self, resource: Any) -> bool | None:
        """Closed means that it has given up its sessions of aiohttp's."""
        endpoint = vars(resource).get("_endpoint")
        http = getattr(endpoint, "http_session", None)
        return None if http is None else getattr(http, "_sessions", ()) is None
