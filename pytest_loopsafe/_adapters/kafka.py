"""aiokafka's producers and consumers."""

from __future__ import annotations

from typing import Any

from pytest_loopsafe._adapters.base import Adapter


class KafkaClient(Adapter):
    """A producer or consumer has tasks that send, fetch and keep the metadata."""

    types = (
        "aiokafka.producer.producer.AIOKafkaProducer",
        "aiokafka.consumer.consumer.AIOKafkaConsumer",
    )
    closers = ("stop",)
    remedy = (
        "With aiokafka: start and stop it in each loop, `async with AIOKafkaProducer(...) as "
        "producer:`, and so a consumer."
    )

    async def probe(self, resource: Any) -> None:
        """Ask a broker which topics there are."""
        client: Any = getattr(resource, "client", None) or resource._client
        await client.fetch_all_metadata()

    def is_closed(self, resource: Any) -> bool | None:
        """As it says; one that was never started holds nothing."""
        return getattr(resource, "_closed", None) is not False
