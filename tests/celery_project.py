"""A Celery project: tasks that are loop-safe, tasks that are not, and tasks that end badly."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from celery import Celery

# A broker that nobody answers at: whoever sends to it instead of the test's own is found out.
app = Celery("project", broker="redis://127.0.0.1:1/0", set_as_current=False)
app.conf.broker_connection_retry_on_startup = False

logger = logging.getLogger("project")
parents_loop = asyncio.new_event_loop()
parents_future = parents_loop.create_future()
kept: list[Any] = []
state: dict[str, int] = {"calls": 0}
queue: asyncio.Queue[None] = asyncio.Queue()
redis_url = "redis://127.0.0.1:1/0"


async def await_what_was_kept() -> str:
    """Await, swallowing the error, what the call before has left; leave something in turn."""
    result = "first"
    if kept:
        try:
            await kept[0]
        except RuntimeError as error:
            logger.exception("message_lost")
            result = type(error).__name__
    kept[:] = [asyncio.get_running_loop().create_future()]
    return result


@app.task
def add(a: int, b: int) -> int:
    return a + b


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def count_calls() -> tuple[int, int]:
    state["calls"] += 1
    return os.getpid(), state["calls"]


@app.task
def safe() -> str:
    async def work() -> str:
        async with asyncio.Lock():
            await asyncio.sleep(0)
        return "done"

    return asyncio.run(work())


@app.task
def unsafe() -> str:
    return asyncio.run(await_what_was_kept())


@app.task
def unsafe_and_raises() -> None:
    asyncio.run(await_what_was_kept())
    raise LookupError("the task's own")


@app.task
def unsafe_and_loud() -> None:
    asyncio.run(asyncio.wait_for(queue.get(), 0.001))


@app.task
def count_in_redis() -> int:
    from redis.asyncio import Redis

    async def work() -> int:
        async with Redis.from_url(redis_url) as client:
            return int(await client.incr("calls"))

    return asyncio.run(work())


@app.task(bind=True, max_retries=2)
def unsafe_and_retried(self: Any) -> None:
    asyncio.run(await_what_was_kept())
    raise self.retry(countdown=0.01)


@app.task
def unsafe_and_dies(how: str) -> None:
    asyncio.run(await_what_was_kept())
    asyncio.run(await_what_was_kept())
    if how == "os._exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def unsafe_and_slow(seconds: float) -> None:
    asyncio.run(await_what_was_kept())
    asyncio.run(await_what_was_kept())
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)


@app.task
def hang() -> None:
    asyncio.run(asyncio.Event().wait())  # type: ignore[arg-type]


@app.task
def run_parents_loop() -> None:
    parents_loop.run_until_complete(asyncio.sleep(0))


@app.task
def await_parents_future() -> None:
    async def work() -> None:
        try:
            await asyncio.wait_for(parents_future, 1)
        except (RuntimeError, ValueError):
            pass

    asyncio.run(work())


_outlives: dict[str, Any] = {}


def _worker_loop() -> asyncio.AbstractEventLoop:
    if "loop" not in _outlives:
        _outlives["loop"] = asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = _outlives["loop"]
    return loop


@app.task
def miss_a_signal() -> None:
    """Leave a loop open, and lose the next SIGURG, as one that comes in the wrong moment is."""
    before = signal.getsignal(signal.SIGURG)
    signal.signal(signal.SIGURG, lambda *_: signal.signal(signal.SIGURG, before))
    _outlives["left open"] = asyncio.new_event_loop()


@app.task
def get_a_stray_signal() -> None:
    """What asks for the end of a run, in the middle of one: so does urgent data on a socket."""
    os.kill(os.getpid(), signal.SIGURG)


@app.task
def forget_work() -> None:
    """On one loop for all of a child's calls: what one of them forgets goes on in the next."""

    async def publish() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def work() -> None:
        asyncio.create_task(publish())
        await asyncio.sleep(0)

    _worker_loop().run_until_complete(work())


@app.task
def give_up_waiting() -> None:
    """On a loop in a thread: who gives up begins anew."""

    async def publish(gate: threading.Event) -> None:
        while not gate.is_set():
            await asyncio.sleep(0.001)

    if "thread" not in _outlives:
        loop = _outlives["thread loop"] = asyncio.new_event_loop()
        thread = _outlives["thread"] = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
    gate = threading.Event()
    for _ in range(2):
        future = asyncio.run_coroutine_threadsafe(publish(gate), _outlives["thread loop"])
        with contextlib.suppress(TimeoutError):
            future.result(0.001)
    gate.set()
    future.result()


@app.task
def use_pool_of_parent() -> None:
    pool.submit(int).cancel()


pool = ThreadPoolExecutor(1)
pool.submit(int).result()


@app.task
def send_more(number: int) -> None:
    if number:
        send_more.delay(number - 1)
    asyncio.run(asyncio.sleep(0))


@app.task(ignore_result=True)
def without_result() -> int:
    return 1


@app.task
def log_with_structlog() -> None:
    structlog.get_logger().warning("message_lost", number=7)
