"""A harness for who writes an adapter: does it tell the truth about a real client?"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from pytest_loopsafe._adapters import Adapters
from pytest_loopsafe._adapters.base import Adapter, NoProbeError


class AdapterError(AssertionError):
    """An adapter does not do what the plugin relies on; the message says what."""


def check_adapter(adapter: Adapter, make: Callable[[], Any]) -> None:
    """Make a client, use it, close it, and check what its adapter says at each step.

    ::

        def test_adapter():
            check_adapter(WarehouseClient(), lambda: warehouse.client.Client(URL))

    The client is made, used with the adapter's `probe` and closed with the first of its `closers`
    in one loop, as a program would; `is_closed` is asked in that loop, and once more after it,
    since the plugin asks when the loop is gone.

    Args:
        adapter: the adapter.
        make: makes a client in the running loop; may be async.

    Raises:
        AdapterError: the adapter does not know the client, says that an open one is closed or a
            closed one open, or names no method that closes it.
        Exception: what the client itself raised.
    """
    client = asyncio.run(_live(adapter, make))
    if adapter.closers and adapter.is_closed(client) is False:
        raise AdapterError(f"{_name(adapter)} says that a client is open whose loop has ended")


async def _live(adapter: Adapter, make: Callable[[], Any]) -> Any:
    client = await _settled(make())
    kind = f"{type(client).__module__}.{type(client).__qualname__}"
    if Adapters((adapter,)).of(client) is not adapter:
        bases = ", ".join(f"{base.__module__}.{base.__qualname__}" for base in type(client).__mro__)
        raise AdapterError(
            f"{_name(adapter)} does not know a {kind}: none of its types {adapter.types} is one of "
            f"{bases}"
        )
    try:
        await adapter.probe(client)
    except NoProbeError:
        pass  # it may have none
    else:
        if adapter.closers and adapter.is_closed(client) is True:
            raise AdapterError(f"{_name(adapter)} says that a {kind} is closed while it is in use")
    if adapter.closers:
        closer = next((name for name in adapter.closers if hasattr(client, name)), None)
        if closer is None:
            raise AdapterError(f"a {kind} has none of the closers {adapter.closers}")
        await _settled(getattr(client, closer)())
        if adapter.is_closed(client) is False:
            raise AdapterError(f"{_name(adapter)} says that a {kind} is open after {closer}()")
    return client


async def _settled(value: Any) -> Any:
    return await value if isinstance(value, Awaitable) or inspect.isawaitable(value) else value


def _name(adapter: Adapter) -> str:
    return type(adapter).__qualname__
