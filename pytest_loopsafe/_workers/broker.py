"""A broker without a server: messages are files in a folder, seen by the worker and its children.

``memory://`` would not do: a forked child has its own copy of that memory, so what a task sends
(the next link of a chain, a retry, the end of a chord) would never arrive. kombu's
``filesystem://`` nearly does: it reads messages that are still being written, and keeps no order
among those of one millisecond. Here a message gets its name when it is whole, and names count up.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps, loads

URL = "loopsafe://"
"""The value for ``broker_url``, while the transport is `known`."""

_counter = itertools.count()


def options(folder: str, queue: str, poll: float = 0.005) -> dict[str, Any]:
    """The ``broker_transport_options`` that keep all messages in one folder.

    Args:
        folder: an existing folder.
        queue: where all tasks go, whatever queue they are meant for: there is one worker.
        poll: seconds between two looks into it.
    """
    return {
        "data_folder_in": folder,
        "data_folder_out": folder,
        "control_folder": os.path.join(folder, "exchanges"),
        "polling_interval": poll,
        "queue_of_all_tasks": queue,
    }


class Channel(filesystem.Channel):  # type: ignore[misc]  # kombu has no types
    """kombu's, with messages that come whole and in order."""

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        if "task" in payload.get("headers", {}):
            queue = self.transport_options["queue_of_all_tasks"]
        # The clock is the machine's, not the process's: parent and children send in one order.
        stamp = f"{time.monotonic_ns():020d}-{os.getpid()}-{next(_counter)}"
        unfinished = os.path.join(self.data_folder_out, f"{stamp}.unfinished")
        with open(unfinished, "wb") as file:
            file.write(dumps(payload).encode())
        os.rename(unfinished, os.path.join(self.data_folder_out, f"{stamp}.{queue}.msg"))

    def _get(self, queue: str) -> Any:
        suffix = f".{queue}.msg"
        for name in sorted(os.listdir(self.data_folder_in)):
            if name.partition(".")[2] == suffix[1:]:
                path = os.path.join(self.data_folder_in, name)
                taken = f"{path}.taken-{os.getpid()}"
                try:
                    os.rename(path, taken)
                except FileNotFoundError:
                    continue  # another worker was faster
                with open(taken, "rb") as file:
                    payload = file.read()
                os.remove(taken)
                return loads(payload.decode())
        raise Empty


class Transport(filesystem.Transport):  # type: ignore[misc]
    """The transport that `URL` names."""

    Channel = Channel


@contextmanager
def known() -> Iterator[None]:
    """Have kombu know the transport by `URL`: a URL has no room for the name of a class.

    A session inside another (pytester's) leaves it to the outer one.
    """
    before = TRANSPORT_ALIASES.get("loopsafe")
    TRANSPORT_ALIASES["loopsafe"] = f"{__name__}:Transport"
    try:
        yield
    finally:
        if before is None:
            del TRANSPORT_ALIASES["loopsafe"]
