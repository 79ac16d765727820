"""A sensor's library calls back from a thread of its own, and was told of the first loop.

After a reload the thread goes on posting to the loop that is gone; each refusal is caught right
there and logged, as it has to be at a shutdown, and every later reading is lost. Right: the thread
is told of the loop that listens now, or ended with the first.
"""

import asyncio
import logging
import queue
import threading

SOURCE = "https://github.com/dahlb/ha_blueair/issues/347"
FINDS = ("LS103",)
RUN = {"loops": 4}

log = logging.getLogger("sensor")


class Sensor:
    """The library: one thread, which calls back whenever the device says something."""

    def __init__(self):
        self.said = queue.SimpleQueue()
        self.on_reading = None
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            reading, handled = self.said.get()
            if self.on_reading is not None:
                self.on_reading(reading)
            handled.set()

    async def says(self, reading):
        handled = threading.Event()
        self.said.put((reading, handled))
        await asyncio.to_thread(handled.wait)


class Coordinator:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.readings = []

    def on_reading(self, reading):
        try:
            self.loop.call_soon_threadsafe(self.readings.append, reading)
        except RuntimeError:
            log.info("reading %s dropped: Home Assistant is stopping", reading)


sensor = Sensor()


async def broken():
    if sensor.on_reading is None:
        sensor.on_reading = Coordinator().on_reading
    await sensor.says(20)


async def fixed():
    coordinator = Coordinator()
    sensor.on_reading = coordinator.on_reading
    try:
        await sensor.says(20)
        await asyncio.sleep(0)
        assert coordinator.readings == [20]
    finally:
        sensor.on_reading = None
