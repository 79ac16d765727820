"""Loop-safe tasks of many shapes. In a real worker, nothing may be found in any of them."""

import asyncio
import os
import subprocess
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from celery import Celery, signals

from pytest_loopsafe.recipes import LoopLocal

app = Celery("safe", set_as_current=False)
by_loop: weakref.WeakKeyDictionary[Any, object] = weakref.WeakKeyDictionary()
by_thread = threading.local()
child: dict[str, Any] = {}
making = threading.Lock()
holder: LoopLocal[Any] = LoopLocal(
    lambda: redis.asyncio.Redis.from_url(os.environ["SAFE_REDIS"]),
    close=lambda client: client.aclose(),
)


def _make_loop(**_: Any) -> None:
    child["loop"] = asyncio.new_event_loop()


def _close_loop(**_: Any) -> None:
    child["loop"].close()


@contextmanager
def a_loop_of_the_childs_own() -> Iterator[None]:
    """Each child makes one when it begins, and closes it when it ends."""
    signals.worker_process_init.connect(_make_loop, weak=False)
    signals.worker_process_shutdown.connect(_close_loop, weak=False)
    try:
        yield
    finally:
        signals.worker_process_init.disconnect(_make_loop)
        signals.worker_process_shutdown.disconnect(_close_loop)


async def nothing() -> str:
    await asyncio.sleep(0)
    return "ok"


@app.task
def keyed_by_loop() -> str:
    async def work() -> str:
        by_loop.setdefault(asyncio.get_running_loop(), object())
        return await nothing()

    return asyncio.run(work())


@app.task
def one_loop_for_the_child() -> str:
    async def work() -> str:
        lock = child.setdefault("lock", asyncio.Lock())
        async with lock:
            return await nothing()

    result: str = child["loop"].run_until_complete(work())
    return result


@app.task
def a_loop_in_a_thread() -> str:
    with making:
        if "thread" not in child:
            child["thread"] = asyncio.new_event_loop()
            threading.Thread(target=child["thread"].run_forever, daemon=True).start()
    return asyncio.run_coroutine_threadsafe(nothing(), child["thread"]).result(5)


@app.task
def executors_and_subprocesses() -> str:
    async def work() -> str:
        await asyncio.get_running_loop().run_in_executor(None, os.getpid)
        await asyncio.to_thread(os.getpid)
        await (await asyncio.create_subprocess_exec("true")).wait()
        return await nothing()

    subprocess.run(["true"], check=True)
    return asyncio.run(work())


@app.task
def asgiref_bridge() -> str:
    from asgiref.sync import async_to_sync

    result: str = async_to_sync(nothing)()
    return result


@app.task
def client_for_each_call() -> str:
    async def work() -> str:
        async with redis.asyncio.Redis.from_url(os.environ["SAFE_REDIS"]) as client:
            await client.ping()
        return await nothing()

    return asyncio.run(work())


@app.task
def client_for_each_loop() -> str:
    async def work() -> str:
        await (await holder.get()).ping()
        return await nothing()

    return asyncio.run(work())


@app.task
def client_for_each_thread() -> str:
    async def work() -> str:
        loop = asyncio.get_running_loop()
        if by_thread.__dict__.get("loop", lambda: None)() is not loop:
            by_thread.loop = weakref.ref(loop)
            by_thread.done = loop.create_future()
            by_thread.done.set_result(None)
            by_thread.client = redis.asyncio.Redis.from_url(os.environ["SAFE_REDIS"])
        await by_thread.done
        await by_thread.client.ping()
        await by_thread.client.aclose()
        return await nothing()

    return asyncio.run(work())


@app.task
def sync_client_for_all() -> str:
    if "client" not in child:
        child["client"] = redis.Redis.from_url(os.environ["SAFE_REDIS"])
    child["client"].ping()
    return asyncio.run(nothing())


@app.task
def uvloop_for_each_call() -> str:
    import uvloop

    return uvloop.run(nothing())


@app.task
def a_fork_of_its_own() -> str:
    pid = os.fork()
    if not pid:
        asyncio.run(nothing())
        os._exit(0)
    os.waitpid(pid, 0)
    return asyncio.run(nothing())


@app.task
def a_task_cancelled_and_awaited() -> str:
    async def work() -> str:
        task = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return await nothing()

    return asyncio.run(work())


TASKS = (
    keyed_by_loop,
    one_loop_for_the_child,
    a_loop_in_a_thread,
    executors_and_subprocesses,
    asgiref_bridge,
    client_for_each_call,
    client_for_each_loop,
    client_for_each_thread,
    sync_client_for_all,
    uvloop_for_each_call,
    a_fork_of_its_own,
    a_task_cancelled_and_awaited,
)
