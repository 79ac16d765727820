"""A real Redis that a row may kill or stop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from processes import ROOT
from rows import SkippedError

sys.path.append(str(ROOT / "tests"))

import servers


@dataclass(frozen=True)
class Redis:
    """A server.

    Attributes:
        url: where it answers.
        pid: its process.
    """

    url: str
    pid: int

    def send(self, number: int) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


@contextmanager
def redis_server() -> Iterator[Redis]:
    """A Redis without persistence, from the tests' wheels, which may be dead by the end."""
    try:
        with servers.redis_server() as url:
            redis = Redis(url, _listener(url.rpartition(":")[2].partition("/")[0]))
            try:
                yield redis
            finally:
                redis.send(signal.SIGCONT)
    except servers.ServerMissingError as error:
        raise SkippedError(str(error)) from None
    except servers.ServerError as error:
        if "ended while it was in use" not in str(error):
            raise


def _listener(port: str) -> int:
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")  # it names its port itself
            if b"redis-server" in words[0] and port in words[0].decode():
                return int(folder.name)
    raise SkippedError(f"no redis-server on port {port} (LOOPSAFE_REDIS_URL is set?)")
