"""LS201: what a global still holds of a dead loop, and how much that says.

Each thing is made in the first loop and kept; later loops run the same code and find it there.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import pytest_loopsafe

kept: dict[str, Any] = {}


async def connection() -> Any:
    """The other end stays open, too: it is nothing but a socket."""
    here, kept["there"] = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)
    return transport


async def future_that_something_follows() -> Any:
    future = asyncio.get_running_loop().create_future()
    future.add_done_callback(print)
    return future


async def future_that_nobody_waits_for() -> Any:
    """A record's `error`, say, that was never set."""
    return asyncio.get_running_loop().create_future()


async def future_that_somebody_gave_up() -> Any:
    future = asyncio.get_running_loop().create_future()
    await asyncio.wait([future], timeout=0)
    return future


async def timer() -> Any:
    return asyncio.get_running_loop().call_later(60, print)


async def answer() -> Any:
    future = asyncio.get_running_loop().create_future()
    future.set_result(1)
    return future


async def closed_connection() -> Any:
    transport = await connection()
    transport.abort()
    await asyncio.sleep(0)
    return transport


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.parametrize(
    ("make", "severity"),
    [
        (connection, "error"),
        (future_that_something_follows, "error"),
        (future_that_nobody_waits_for, "warning"),
        (future_that_somebody_gave_up, "warning"),
        (timer, "warning"),
        (answer, None),
        (closed_connection, None),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_what_is_left_of_a_dead_loop(
    make: Callable[[], Awaitable[Any]], severity: str | None
) -> None:
    async def body() -> None:
        if "thing" not in kept:
            kept["thing"] = await make()

    try:
        report = pytest_loopsafe.run(body, check=False)
        stale = [one for one in report.findings if one.code == "LS201"]
        assert [str(one.severity) for one in stale] == ([severity] if severity else [])
        assert all((one.owner or "").startswith(f"{__name__}.kept['thing']") for one in stale)
    finally:
        if "there" in kept:
            kept["there"].close()
        kept.clear()
