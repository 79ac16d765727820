"""Streams: what every read goes through.

``StreamReader.read()`` and the like call ``_maybe_resume_transport()`` once they have data
(``asyncio/streams.py``).
"""

from __future__ import annotations

import asyncio
from typing import Any

from pytest_loopsafe._cpython.loops import running
from pytest_loopsafe._cpython.topic import Topic
from pytest_loopsafe._cpython.trial import trial_loop

STREAM_READ = (asyncio.StreamReader, "_maybe_resume_transport")
"""What every read of a stream calls once it has data, whether it had to wait or not."""


def _sees_reads() -> bool:
    owner, name = STREAM_READ
    calls: list[Any] = []
    kind: Any = type("Reader", (owner,), {name: lambda self: calls.append(self)})
    with trial_loop() as loop, running(loop):
        reader = kind(loop=loop)
        reader.feed_data(b"some")
        reading = reader.read(4)
        try:
            reading.send(None)
        except StopIteration as result:
            return calls == [reader] and result.value == b"some" and hasattr(*STREAM_READ)
        reading.close()
    return False


TOPICS = (Topic("what is read from a stream", ("LS104", "LS105", "LS402"), _sees_reads),)
