"""A Redis for tests that binds to a loop like a real one: over a socket.

`FakeAsyncRedis` in memory does not: one global client passes through any number of loops. The same
client over a socket fails exactly as it does in production.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_INSTALL = (
    "the fixture loopsafe_redis needs redis and fakeredis: pip install 'pytest-loopsafe[redis]'"
)


class RedisUnavailableError(RuntimeError):
    """There is no Redis that a test may use; the message says what to do."""


@contextmanager
def embedded() -> Iterator[str]:
    """A fresh, empty TcpFakeServer on a free port of this machine; yields its URL.

    Raises:
        RedisUnavailableError: when fakeredis is not installed.
    """
    try:
        from fakeredis import TcpFakeServer  # an optional dependency
    except ImportError:
        raise RedisUnavailableError(_INSTALL) from None
    server: Any = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    # A client that a test leaves open must not keep the server from stopping.
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        host, port = server.server_address[:2]
        yield f"redis://{host}:{port}/0"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def external(url: str) -> Iterator[str]:
    """A Redis of the user's, if the database is empty; what the test wrote is removed after it.

    Raises:
        RedisUnavailableError: when it holds anything, for nothing of the user's is ever flushed,
            or when it cannot be reached.
    """
    try:
        import redis  # an optional dependency

        client = redis.Redis.from_url(url)
    except ImportError:
        raise RedisUnavailableError(_INSTALL) from None
    except ValueError as error:
        raise RedisUnavailableError(f"LOOPSAFE_REDIS_URL={url} is not allowed: {error}") from None
    try:
        try:
            keys = client.dbsize()
        except redis.RedisError as error:
            raise RedisUnavailableError(f"LOOPSAFE_REDIS_URL={url}: {error}") from error
        if keys:
            raise RedisUnavailableError(
                f"LOOPSAFE_REDIS_URL={url}: that database holds {keys} keys. Give an empty one: "
                "tests write into it, and loopsafe flushes nothing that it did not find empty"
            )
        try:
            yield url
        finally:
            for key in client.scan_iter(count=1000):
                client.unlink(key)
    finally:
        client.close()
