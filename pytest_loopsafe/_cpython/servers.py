"""Servers: ``base_events.Server``, which ``create_server()`` and ``start_server()`` make."""

from __future__ import annotations

import asyncio
from typing import Any

from pytest_loopsafe._cpython.topic import Topic, find
from pytest_loopsafe._cpython.transports import transport_loop
from pytest_loopsafe._cpython.trial import NoSocket, trial_loop

Server: type[Any] = find("base_events", "Server")


def _sees_servers() -> bool:
    with trial_loop() as loop:
        making = loop.create_server(asyncio.Protocol, sock=NoSocket())
        server = loop.run_until_complete(making)
        seen = type(server) is Server and transport_loop(server) is loop and bool(server.sockets)
        server.close()
        loop.turn()
        return seen and not server.sockets


TOPICS = (Topic("servers", ("LS201", "LS202", "LS303"), _sees_servers),)
