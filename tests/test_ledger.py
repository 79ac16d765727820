"""What became of a connection that was open when its loop ended: told by where it is held."""

import asyncio
import gc
import itertools
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._watch.watch import Watch

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

kept: Any = None
shelf: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _begin_anew() -> Iterator[None]:
    global kept
    yield
    kept = None
    shelf.clear()
    gc.collect()


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Where somebody listens, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[:2]


def codes(report: pytest_loopsafe.LoopReport) -> list[tuple[str, str]]:
    return sorted((one.code, str(one.severity)) for one in report.findings)


@pytest.mark.parametrize("unrelated", [False, True], ids=["alone", "beside_another"])
def test_one_that_is_given_up_was_left_open_whatever_else_is_opened(
    address: tuple[str, int], unrelated: bool
) -> None:
    passes = itertools.count(1)

    async def body() -> None:
        global kept
        number = next(passes)
        if number == 1:
            kept = await asyncio.open_connection(*address)
        elif number == 2 and unrelated:
            _, writer = await asyncio.open_connection(*address)
            writer.close()
            await writer.wait_closed()
        elif number == 3:
            kept = None

    report = pytest_loopsafe.run(body, ignore=["LS201"], check=False)
    assert codes(report) == [("LS303", "warning")]


def test_one_whose_place_another_has_taken_is_a_leak(address: tuple[str, int]) -> None:
    async def body() -> None:
        global kept
        kept = await asyncio.open_connection(*address)

    report = pytest_loopsafe.run(body, check=False)
    (leak,) = report.findings
    assert leak.code == "LS202"
    assert str(leak.owner).startswith(f"{__name__}.kept")
    assert "got a new connection in loop" in leak.message


def test_one_that_was_made_for_the_same_holder_has_its_place(address: tuple[str, int]) -> None:
    class Client:
        streams: Any = None

        async def connect(self) -> None:
            self.streams = await asyncio.open_connection(*address)

    async def body() -> None:
        global kept
        kept = kept or Client()
        await kept.connect()

    report = pytest_loopsafe.run(body, check=False)
    assert [one.code for one in report.errors] == ["LS202"]


def test_what_nobody_holds_was_left_open(address: tuple[str, int]) -> None:
    async def body() -> None:
        shelf["for a moment"] = await asyncio.open_connection(*address)
        asyncio.get_running_loop().call_soon(shelf.clear)

    report = pytest_loopsafe.run(body, loops=1, check=False)
    assert {one.code for one in report.findings} == {"LS303"}


def test_what_is_closed_after_its_loop_has_ended_is_no_leak(address: tuple[str, int]) -> None:
    """A held one is judged later; by then its socket may have been shut."""

    async def body() -> None:
        if shelf:
            shelf.pop("streams")[1].transport.get_extra_info("socket")._sock.close()
        else:
            shelf["streams"] = await asyncio.open_connection(*address)

    report = pytest_loopsafe.run(body, loops=2, ignore=["LS201"], check=False)
    assert "LS202" not in {one.code for one in report.findings}


def test_what_was_closed_in_order_leaves_no_record(address: tuple[str, int]) -> None:
    async def body(number: int) -> None:
        for _ in range(number):
            _, writer = await asyncio.open_connection(*address)
            writer.close()
            await writer.wait_closed()

    watch = Watch()
    sizes = []
    with watch.armed():
        for _ in range(4):
            asyncio.run(body(10))
            gc.collect()
            sizes.append(len(watch.ledger))
    assert max(sizes) == 0, sizes


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_verdict_does_not_hang_on_the_number_of_loops(
    address: tuple[str, int], number: int
) -> None:
    async def body() -> None:
        global kept
        kept = await asyncio.open_connection(*address)

    report = pytest_loopsafe.run(body, loops=number, check=False)
    assert bool(report.errors) == (number > 1)


def test_findings_of_one_place_are_one_group(address: tuple[str, int]) -> None:
    async def body() -> None:
        global kept
        if kept is None:
            kept = await asyncio.open_connection(*address)
            return
        _, writer = kept
        writer.write(b"to a closed loop")
        try:
            writer.close()
        except RuntimeError:
            pass

    report = pytest_loopsafe.run(body, check=False)
    assert len(report.findings) > 1
    assert {one.group for one in report.findings} == {f"{__name__}.kept"}
    text = str(report)
    assert text.count("remedy:") == 1
    assert text.splitlines()[0].startswith(f"{__name__}.kept")


def test_a_finding_is_told_at_once_and_gets_its_owner_at_rest() -> None:
    told: list[str | None] = []

    async def body() -> None:
        global kept
        if kept is None:
            kept = asyncio.get_running_loop().create_future()
            return
        try:
            await kept
        except RuntimeError:
            told.append(f"after the await, {len(told)} told")

    watch = Watch(found=lambda number, finding: told.append(finding.owner))
    with watch.armed():
        for number in (1, 2):
            watch.begin_pass(number)
            asyncio.run(body())
            watch.end_pass()
        watch.end_run()
    assert told == [None, "after the await, 1 told"]
    (finding,) = watch.findings()
    assert finding.owner == f"{__name__}.kept"


def test_the_owner_is_what_was_used_and_not_who_else_has_its_loop() -> None:
    async def body() -> None:
        if not shelf:
            server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()[:2]
            shelf.update(server=server, streams=await asyncio.open_connection(*address))
            return
        shelf["streams"][1].write(b"to a closed loop")

    report = pytest_loopsafe.run(body, loops=2, check=False)
    (call,) = [one for one in report.findings if one.code == "LS103"]
    assert str(call.owner).startswith(f"{__name__}.shelf['streams']")


def test_what_no_variable_leads_to_has_no_owner() -> None:
    async def body() -> None:
        asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)

    report = pytest_loopsafe.run(body, loops=2)
    assert [(one.code, one.owner) for one in report.findings] == [("LS301", None)]
