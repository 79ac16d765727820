"""What we do leaves no frame behind that only the collector could free.

A frame that is in a circle with itself holds all that its callers have in variables, until the next
collection: the code under test would not free what it frees otherwise. (What that is, is not
harmless either: 3.12.1 crashes where it collects the ``getbuffer()`` of a BytesIO, and billiard has
one in a variable while a worker's signal handler runs.)
"""

import asyncio
import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

import pytest_loopsafe

JUDGING = ("_watch", "_graph", "_ledger", "_bytecode", "_words", "_report", "_spool", "_cpython")
OURS = Path(pytest_loopsafe.__file__).parent
kept = SimpleNamespace(loop=None, queue=None, future=None)


@contextlib.contextmanager
def uncollected() -> Iterator[list[str]]:
    """Gives afterwards which functions of ours have left frames to the collector."""
    left: list[str] = []
    gc.collect()
    gc.disable()
    try:
        yield left
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left += [
            one.f_code.co_qualname
            for one in gc.garbage
            if type(one) is FrameType
            and Path(one.f_code.co_filename).is_relative_to(OURS)
            and Path(one.f_code.co_filename).relative_to(OURS).parts[0] in JUDGING
            and not one.f_code.co_qualname.startswith("_hook.")  # in the user's own traceback
        ]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.collect()


def leave_loop_open() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))


async def await_earlier_future() -> None:
    kept.future = kept.future or asyncio.get_running_loop().create_future()
    await asyncio.wait({kept.future}, timeout=0.001)


async def wait_in_kept_queue() -> None:
    kept.queue = kept.queue or asyncio.Queue()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(kept.queue.get(), 0.001)


async def leave_a_task() -> None:
    asyncio.create_task(asyncio.sleep(3600), name="left")
    await asyncio.sleep(0)


async def use_closed_loop() -> None:
    earlier, kept.loop = kept.loop, asyncio.get_running_loop()
    if earlier is not None:
        earlier.call_soon(print)


async def be_held_by_a_thread() -> None:
    future = asyncio.get_running_loop().create_future()
    ended = threading.Event()

    def hold(held: Any) -> None:
        ended.wait()

    thread = threading.Thread(target=hold, args=(future,))
    thread.start()
    try:
        await await_earlier_future()
    finally:
        ended.set()
        thread.join()


BODIES = (
    leave_loop_open,
    await_earlier_future,
    wait_in_kept_queue,
    leave_a_task,
    use_closed_loop,
    be_held_by_a_thread,
)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
def test_a_judged_run_leaves_none(body: Callable[[], Any]) -> None:
    vars(kept).update(loop=None, queue=None, future=None)
    with uncollected() as left:
        report = pytest_loopsafe.run(body, check=False, loops=2)
        assert report.findings
        str(report)
        del report
    assert left == []
