"""nats-py, grpc.aio and aio-pika."""

from __future__ import annotations

from typing import Any, ClassVar

from pytest_loopsafe._adapters.base import Adapter


class NatsClient(Adapter):
    """A NATS client has a reading task, a flusher and a pinger."""

    types = ("nats.aio.client.Client",)
    closers = ("close", "drain")
    remedy = "With nats-py: connect anew in each loop, and `await client.drain()` before it ends."

    async def probe(self, resource: Any) -> None:
        """A round trip to the server."""
        await resource.flush(timeout=5)

    def is_closed(self, resource: Any) -> bool | None:
        """As the client says; one that was never connected holds nothing."""
        return bool(resource.is_closed) or not (resource.is_connected or resource.is_reconnecting)


class GrpcChannel(Adapter):
    """A channel of grpc.aio is bound to the loop in which it was made."""

    types: ClassVar[tuple[str, ...]] = ("grpc.aio._channel.Channel",)
    closers: ClassVar[tuple[str, ...]] = ("close",)
    remedy: ClassVar[str] = (
        "With grpc.aio: make channel and stubs in the loop that calls them, `async with "
        "grpc.aio.insecure_channel(...) as channel:`."
    )

    async def probe(self, resource: Any) -> None:
        """Wait until it is connected."""
        await resource.channel_ready()

    def is_closed(self, resource: Any) -> bool | None:
        """As the C core says."""
        channel = getattr(resource, "_channel", None)
        closed = getattr(channel, "closed", None)
        return bool(closed()) if callable(closed) else None


class GrpcMethod(GrpcChannel):
    """A method of a stub is open as long as its channel is, which is what a report names."""

    types = ("grpc.aio._channel._BaseMultiCallable",)
    closers = ()
    remedy = ""

    async def probe(self, resource: Any) -> None:
        """There is no call that any server answers."""
        await Adapter.probe(self, resource)


class PikaConnection(Adapter):
    """A connection of aio-pika; the robust one reconnects in its own loop."""

    types = ("aio_pika.abc.AbstractConnection", "aio_pika.connection.Connection")
    closers = ("close",)
    remedy = (
        "With aio-pika: connect anew in each loop, `async with await aio_pika.connect_robust(url) "
        "as connection:`."
    )

    async def probe(self, resource: Any) -> None:
        """Open a channel and close it."""
        channel = await resource.channel()
        await channel.close()

    def is_closed(self, resource: Any) -> bool | None:
        """As the connection says."""
        return bool(resource.is_closed)
