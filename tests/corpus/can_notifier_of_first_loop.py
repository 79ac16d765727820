"""A transport interface keeps the notifier that reads its bus, which reads in the first loop only.

The second run finds a notifier, so nobody reads the bus any more: frames are sent, none is
received, and the wait for one times out. The right fix: a notifier for each loop, stopped before it
ends.
"""

import asyncio
import socket

SOURCE = "https://github.com/mdabrowski1990/uds/pull/481"
FINDS = ("LS209",)


class Bus:
    def __init__(self):
        self.ours, self.theirs = socket.socketpair(type=socket.SOCK_DGRAM)
        self.ours.setblocking(False)

    def fileno(self):
        return self.ours.fileno()

    def recv(self):
        return self.ours.recv(8)

    def send(self, frame):
        self.theirs.send(frame)

    def shutdown(self):
        self.ours.close()
        self.theirs.close()


class Notifier:
    def __init__(self, bus, listener, loop):
        self.bus, self.listener, self.loop = bus, listener, loop
        loop.add_reader(bus.fileno(), self.on_message_available)

    def on_message_available(self):
        self.listener(self.bus.recv())

    def stop(self):
        self.loop.remove_reader(self.bus.fileno())


class TransportInterface:
    def __init__(self, bus):
        self.bus = bus
        self.notifier = None
        self.received = []

    def setup_notifier(self):
        if self.notifier is None:
            self.notifier = Notifier(self.bus, self.received.append, asyncio.get_running_loop())

    def teardown_notifier(self):
        self.notifier.stop()
        self.notifier = None

    async def receive_packet(self):
        self.setup_notifier()
        self.bus.send(b"\x02\x10\x03")
        for _ in range(5):
            await asyncio.sleep(0.001)
        return self.received.pop() if self.received else "timeout"


interface = None


def broken():
    global interface
    if interface is None:
        interface = TransportInterface(Bus())
    return asyncio.run(interface.receive_packet())


def fixed():
    async def run():
        own = TransportInterface(Bus())
        try:
            return await own.receive_packet()
        finally:
            own.teardown_notifier()
            own.bus.shutdown()

    return asyncio.run(run())
