"""A producer of aiokafka's in a global."""

from aiokafka import AIOKafkaProducer

ADAPTER = "KafkaClient"
SERVER = "kafka"
URL = ""

producer = None


async def broken():
    global producer
    if producer is None:
        producer = AIOKafkaProducer(bootstrap_servers=URL)
        await producer.start()
    await producer.partitions_for("orders")


async def remedied():
    async with AIOKafkaProducer(bootstrap_servers=URL) as producer:
        await producer.partitions_for("orders")
