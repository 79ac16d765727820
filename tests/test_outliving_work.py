"""LS307: work that goes on beyond its run, on a loop that stays open; and what is meant to."""

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from other_loops import debug_loop, eager_loop, python_task_loop, uv_loop

import pytest_loopsafe
from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.keepers import is_kept

Body = Callable[[], Any]
Make = Callable[["Kept"], Body]


class Kept:
    """What a module would hold: a loop that stays open, a thread's loop, what was written."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.written: list[Any] = []
        self.tasks: set[Any] = set()
        self.thing: Any = None
        self.thread: threading.Thread | None = None
        self.gate = threading.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(4)

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def start(self) -> None:
        """Have a thread run the loop from now on."""
        if self.thread is None:
            running = threading.Event()
            self.loop.call_soon(running.set)
            self.thread = threading.Thread(target=self.loop.run_forever)
            self.thread.start()
            running.wait()

    def hand_over(self, coroutine: Any) -> Any:
        self.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def close(self) -> None:
        self.gate.set()
        if self.thread is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
        left = _cpython.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left))
        self.loop.close()
        self.pool.shutdown()


@pytest.fixture
def kept() -> Iterator[Kept]:
    kept = Kept()
    yield kept
    kept.close()


async def rounds(number: int) -> None:
    """Take so many of the loop's rounds."""
    for _ in range(number):
        await asyncio.sleep(0)


def give_up(error: BaseException) -> None:
    raise error


# -- main tasks that were interrupted ----------------------------------------------------------


def interrupted(error: Callable[[], BaseException]) -> Make:
    def make(kept: Kept) -> Body:
        async def handle() -> None:
            kept.written.append("begin")
            if len(kept.written) == 1:
                kept.loop.call_soon(give_up, error())
            await rounds(3)
            kept.written.append("end")

        def body() -> None:
            with contextlib.suppress(BaseException):
                kept.run(handle())

        return body

    return make


def interrupted_by_a_signal(kept: Kept) -> Body:
    async def handle() -> None:
        if not kept.written:
            kept.written.append("interrupted")
            kept.loop.call_soon(signal.raise_signal, signal.SIGINT)
        await rounds(3)

    def body() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            kept.run(handle())

    return body


def interrupted_in_select(kept: Kept) -> Body:
    """What a signal handler raises while the loop waits; in a callback asyncio would log it."""

    def expire(number: int, frame: Any) -> None:
        raise TimeoutError

    async def handle() -> None:
        first = not kept.written
        kept.written.append("begin")
        if first:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        await asyncio.sleep(0.3 if first else 0.4)

    def body() -> None:
        before = signal.signal(signal.SIGALRM, expire)
        try:
            with contextlib.suppress(TimeoutError):
                kept.run(handle())
        finally:
            signal.signal(signal.SIGALRM, before)

    return body


def stopped(kept: Kept) -> Body:
    async def handle() -> None:
        if not kept.written:
            kept.written.append("stopped")
            kept.loop.stop()
        await rounds(3)

    def body() -> None:
        with contextlib.suppress(RuntimeError):
            kept.run(handle())

    return body


def left_by_a_child(kept: Kept) -> Body:
    """What a child raises that is no Exception leaves the loop, and the parent behind."""

    async def child() -> None:
        raise SystemExit

    async def handle() -> None:
        first = not kept.written
        kept.written.append("begin")
        tasks = [asyncio.ensure_future(child())] if first else []
        await rounds(3)
        await asyncio.gather(*tasks, return_exceptions=True)

    def body() -> None:
        with contextlib.suppress(SystemExit):
            kept.run(handle())

    return body


def on_a_kept_runner(kept: Kept) -> Body:
    kept.thing = asyncio.Runner(loop_factory=lambda: kept.loop)

    async def handle() -> None:
        first = not kept.written
        kept.written.append("begin")
        if first:
            kept.loop.call_soon(give_up, SystemExit())
        await rounds(3)

    def body() -> None:
        with contextlib.suppress(SystemExit):
            kept.thing.run(handle())

    return body


def with_a_timeout_of_its_own(kept: Kept) -> Body:
    async def handle() -> None:
        first = not kept.written
        kept.written.append("begin")
        if first:
            kept.loop.call_soon(give_up, SystemExit())
        await rounds(3)

    def body() -> None:
        with contextlib.suppress(SystemExit):
            kept.run(asyncio.wait_for(handle(), 30))

    return body


def within_one_pass(kept: Kept) -> Body:
    async def handle(number: int) -> None:
        if not number:
            kept.loop.call_soon(give_up, SystemExit())
        await rounds(2 + number)

    def body() -> None:
        for number in range(3):
            with contextlib.suppress(SystemExit):
                kept.run(handle(number))

    return body


def beside_other_code(kept: Kept) -> Body:
    """It goes on in what is no clean-up: that one does not wait for it. A warning."""

    async def handle() -> None:
        if kept.written:
            return
        kept.written.append("begin")
        kept.loop.call_soon(give_up, SystemExit())
        await rounds(1_000)

    async def other() -> None:
        await rounds(3)

    def body() -> None:
        with contextlib.suppress(SystemExit):
            kept.run(handle())
        kept.run(other())

    return body


# -- tasks that a run has started ----------------------------------------------------------------


def forgotten(kept: Kept) -> Body:
    async def audit() -> None:
        await rounds(3)
        kept.written.append("row")

    async def handle() -> None:
        asyncio.create_task(audit())
        await asyncio.sleep(0)

    return lambda: kept.run(handle())


def begun_by_the_end_of_a_task(kept: Kept) -> Body:
    async def audit() -> None:
        await rounds(8)
        kept.written.append("row")

    async def handle() -> None:
        task = asyncio.create_task(rounds(1))
        task.add_done_callback(lambda _: asyncio.ensure_future(audit()))
        await task

    return lambda: kept.run(handle())


def begun_by_the_end_of_a_task_and_kept(kept: Kept) -> Body:
    async def audit() -> None:
        await rounds(3)

    def begin(task: Any) -> None:
        kept.tasks.add(asyncio.ensure_future(audit()))

    async def handle() -> None:
        task = asyncio.create_task(rounds(1))
        task.add_done_callback(begin)
        await task
        await asyncio.gather(*kept.tasks)
        kept.tasks.clear()

    return lambda: kept.run(handle())


def begun_by_the_end_of_what_no_run_has_started(kept: Kept) -> Body:
    """As a server's connections, each of which has its audit: that is of no run."""

    async def audit() -> None:
        await rounds(3)

    def begin(task: Any) -> None:
        kept.thing = asyncio.ensure_future(audit())

    def accept() -> None:
        asyncio.ensure_future(rounds(1)).add_done_callback(begin)

    async def handle() -> None:
        await rounds(4)

    def body() -> None:
        kept.loop.call_soon(accept)
        kept.run(handle())

    return body


def held_until_done(kept: Kept) -> Body:
    async def audit() -> None:
        await rounds(3)

    async def handle() -> None:
        task = asyncio.create_task(audit())
        kept.tasks.add(task)
        task.add_done_callback(kept.tasks.discard)
        await asyncio.sleep(0)

    return lambda: kept.run(handle())


def held_until_done_by_a_lambda(kept: Kept) -> Body:
    tasks = kept.tasks

    async def audit() -> None:
        await rounds(3)

    async def handle() -> None:
        task = asyncio.ensure_future(audit())
        tasks.add(task)
        task.add_done_callback(lambda done: tasks.discard(done))
        await asyncio.sleep(0)

    return lambda: kept.run(handle())


class Background:
    def __init__(self) -> None:
        self.tasks: set[Any] = set()

    def spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(functools.partial(self.finish))

    def finish(self, task: Any) -> None:
        self.tasks.discard(task)


def held_until_done_by_an_object(kept: Kept) -> Body:
    background = Background()

    async def handle() -> None:
        background.spawn(rounds(3))
        await asyncio.sleep(0)

    return lambda: kept.run(handle())


def gathered_and_not_awaited(kept: Kept) -> Body:
    async def handle() -> None:
        asyncio.gather(rounds(3), rounds(4))
        await asyncio.sleep(0)

    return lambda: kept.run(handle())


def under_way_when_its_loop_is_closed(kept: Kept) -> Body:
    async def audit() -> None:
        await rounds(1000)

    async def handle() -> None:
        asyncio.create_task(audit())
        await rounds(2)

    def body() -> None:
        loop = asyncio.new_event_loop()
        for _ in range(2):
            loop.run_until_complete(handle())
        loop.close()

    return body


def ended_by_another_handler(kept: Kept) -> Body:
    """Which belongs to a later pass."""

    async def audit() -> None:
        await rounds(5)

    async def one() -> None:
        asyncio.create_task(audit())
        await rounds(1)

    async def other() -> None:
        asyncio.create_task(audit())
        await rounds(2)

    def body() -> None:
        kept.run(one())
        kept.run(other())

    return body


def with_a_timeout_inside(kept: Kept) -> Body:
    async def audit() -> None:
        async with asyncio.timeout(30):
            await rounds(3)

    async def handle() -> None:
        asyncio.create_task(audit())
        await asyncio.sleep(0)

    return lambda: kept.run(handle())


def with_a_group_inside(kept: Kept) -> Body:
    async def audit() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(rounds(3))

    async def handle() -> None:
        asyncio.create_task(audit())
        await asyncio.sleep(0)

    return lambda: kept.run(handle())


def through_a_helper(kept: Kept) -> Body:
    """Started by a task that the run has started, wrapped in another coroutine."""

    async def audit() -> None:
        await rounds(4)

    async def logged(coroutine: Any) -> None:
        await coroutine

    async def helper() -> None:
        asyncio.create_task(logged(audit()))

    async def handle() -> None:
        await asyncio.create_task(helper())

    return lambda: kept.run(handle())


def tickers(kept: Kept) -> Body:
    """Each request adds one that never ends, and nobody can end it."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(0)

    async def handle() -> None:
        asyncio.create_task(tick())
        await rounds(2)

    return lambda: kept.run(handle())


# -- waiters that gave up -------------------------------------------------------------------------


async def waits(kept: Kept, done: str) -> None:
    while not kept.gate.is_set():
        await asyncio.sleep(0.001)
    kept.written.append(done)


def delivered_twice(kept: Kept) -> Body:
    async def deliver() -> None:
        await waits(kept, "message")

    def body() -> None:
        kept.gate.clear()
        try:
            kept.hand_over(deliver()).result(0.001)
        except TimeoutError:
            again = kept.hand_over(deliver())
            kept.gate.set()
            again.result()

    return body


def delivered_by_another_loop(kept: Kept) -> Body:
    async def deliver() -> None:
        await waits(kept, "message")

    def body() -> None:
        kept.gate.clear()
        try:
            kept.hand_over(deliver()).result(0.001)
        except TimeoutError:
            kept.thing = threading.Timer(0.01, kept.gate.set)
            kept.thing.start()
            asyncio.run(deliver())

    return body


def given_up_in_each_pass(kept: Kept) -> Body:
    async def deliver(number: int) -> None:
        await waits(kept, f"message {number}")

    def body() -> None:
        future = kept.hand_over(deliver(len(kept.written)))
        with contextlib.suppress(TimeoutError):
            future.exception(0.001)

    return body


def given_up_for_something_else(kept: Kept) -> Body:
    """A warning: it runs on beside what its waiter does next."""

    async def deliver() -> None:
        await waits(kept, "message")

    async def fallback() -> None:
        before = len(kept.written)
        kept.gate.set()
        while len(kept.written) == before:
            await asyncio.sleep(0.001)

    def body() -> None:
        kept.gate.clear()
        with contextlib.suppress(TimeoutError):
            kept.hand_over(deliver()).result(0.001)
        kept.hand_over(fallback()).result()

    return body


# -- jobs of executors ----------------------------------------------------------------------------


def closed_by_hand(kept: Kept) -> Body:
    """What awaits the job is left behind, and so is its result. A warning."""

    async def handle() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(load())
        kept.tasks.add(task)
        await rounds(2)
        assert not task.done()
        assert loop is not kept.loop

    async def load() -> None:
        await asyncio.to_thread(kept.gate.wait)

    def body() -> None:
        kept.gate.clear()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(handle())
        loop.close()
        kept.gate.set()

    return body


def done_twice_by_closed_loops(kept: Kept) -> Body:
    def job() -> None:
        kept.gate.wait()

    async def handle() -> None:
        asyncio.get_running_loop().run_in_executor(None, job)

    def body() -> None:
        for _ in range(2):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(handle())
            loop.close()
        kept.gate.set()

    return body


def timed_out_in_a_thread(kept: Kept) -> Body:
    def job() -> None:
        kept.gate.wait()

    async def handle() -> None:
        await asyncio.wait_for(asyncio.to_thread(job), 0.001)

    def body() -> None:
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                kept.run(handle())
        kept.gate.set()
        kept.run(kept.loop.shutdown_default_executor())

    return body


BROKEN: dict[str, tuple[Make, str]] = {
    "KeyboardInterrupt": (interrupted(KeyboardInterrupt), "error"),
    "SystemExit": (interrupted(SystemExit), "error"),
    "a timeout's exception": (interrupted_in_select, "error"),
    "a signal": (interrupted_by_a_signal, "error"),
    "loop.stop()": (stopped, "error"),
    "a child's SystemExit": (left_by_a_child, "error"),
    "a kept runner": (on_a_kept_runner, "error"),
    "wait_for around it": (with_a_timeout_of_its_own, "error"),
    "within one pass": (within_one_pass, "error"),
    "beside other code": (beside_other_code, "warning"),
    "forgotten task": (forgotten, "error"),
    "begun by the end of a task": (begun_by_the_end_of_a_task, "error"),
    "held until it is done": (held_until_done, "warning"),
    "held until it is done, by a lambda": (held_until_done_by_a_lambda, "warning"),
    "held until it is done, by an object": (held_until_done_by_an_object, "warning"),
    "gathered and not awaited": (gathered_and_not_awaited, "error"),
    "under way when its loop is closed": (under_way_when_its_loop_is_closed, "error"),
    "ended by another handler": (ended_by_another_handler, "error"),
    "a timeout inside": (with_a_timeout_inside, "error"),
    "a group inside": (with_a_group_inside, "error"),
    "through a helper": (through_a_helper, "error"),
    "tickers": (tickers, "error"),
    "delivered twice": (delivered_twice, "error"),
    "delivered by another loop": (delivered_by_another_loop, "error"),
    "given up in each pass": (given_up_in_each_pass, "error"),
    "given up for something else": (given_up_for_something_else, "warning"),
    "closed by hand": (closed_by_hand, "warning"),
    "done twice by closed loops": (done_twice_by_closed_loops, "error"),
    "timed out in a thread": (timed_out_in_a_thread, "error"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_goes_on_is_found(name: str, kept: Kept) -> None:
    if name == "gathered and not awaited" and sys.version_info[:2] == (3, 13):
        pytest.skip("3.13 does not show what a gather() holds: then somebody may keep it")
    make, severity = BROKEN[name]
    report = pytest_loopsafe.run(make(kept), check=False, loops=1 if "beside" in name else 3)
    found = [one for one in report.findings if one.code == "LS307"]
    assert {str(one.severity) for one in found} == {severity}, str(report)


def test_tasks_that_are_waited_for_by_whoever_has_their_container(kept: Kept) -> None:
    """It cannot be told from one that nobody waits for: a warning, then."""

    async def audit() -> None:
        await rounds(3)

    async def handle() -> None:
        task = asyncio.create_task(audit())
        kept.tasks.add(task)
        task.add_done_callback(kept.tasks.discard)

    def body() -> None:
        for _ in range(3):
            kept.run(handle())
        while kept.tasks:
            kept.run(asyncio.sleep(0))

    report = pytest_loopsafe.run(body)
    assert {str(one.severity) for one in report.findings} <= {"warning"}


# -- what looks like it ---------------------------------------------------------------------------


def consumer_kept(kept: Kept) -> Body:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def consume() -> None:
        while True:
            kept.written.append(await queue.get())
            await asyncio.sleep(0)

    async def handle() -> None:
        if kept.thing is None:
            kept.thing = asyncio.create_task(consume())
        queue.put_nowait(1)
        await rounds(2)

    return lambda: kept.run(handle())


def consumer_started_once(kept: Kept) -> Body:
    async def consume() -> None:
        while True:
            await asyncio.sleep(0)

    async def handle() -> None:
        if not kept.written:
            kept.written.append("started")
            asyncio.create_task(consume())
        await rounds(2)

    return lambda: kept.run(handle())


class Session:
    def __init__(self) -> None:
        self.open = True

    async def begin(self) -> "Session":
        self.task = asyncio.create_task(self.beat())
        return self

    async def beat(self) -> None:
        while self.open:
            await asyncio.sleep(0)


def sessions(kept: Kept) -> Body:
    """Each has a task of its own, which ends when the session does; two are open at a time."""
    kept.thing = []

    def body() -> None:
        kept.thing.append(kept.run(Session().begin()))
        if len(kept.thing) > 2:
            kept.thing.pop(0).open = False
        kept.run(rounds(3))

    return body


def sessions_of_the_caller(kept: Kept) -> Body:
    """Nothing but variables of the function that runs holds them."""

    def body() -> None:
        first = kept.run(Session().begin())
        second = kept.run(Session().begin())
        kept.run(rounds(2))
        first.open = second.open = False
        kept.run(rounds(2))

    return body


def connections_of_a_server(kept: Kept) -> Body:
    """Each is served by a task of its own, which no run has started."""

    async def serve(reader: Any, writer: Any) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async def handle() -> None:
        if kept.thing is None:
            kept.thing = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = kept.thing.sockets[0].getsockname()
        kept.written.append(await asyncio.open_connection(*address))
        for reader, writer in kept.written:
            writer.write(b"hello\n")
            await reader.readline()

    async def end() -> None:
        for _, writer in kept.written:
            writer.close()
            await writer.wait_closed()
        kept.written.clear()
        kept.thing.close()
        await kept.thing.wait_closed()
        kept.thing = None

    def body() -> None:
        kept.run(handle())
        kept.run(handle())
        kept.run(end())

    return body


def shielded_and_awaited_later(kept: Kept) -> Body:
    async def save() -> None:
        await rounds(3)

    async def handle() -> Any:
        task = asyncio.create_task(save())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 0)
        return task

    def body() -> None:
        first, second = kept.run(handle()), kept.run(handle())
        kept.run(first)
        kept.run(second)

    return body


def interrupted_and_cancelled(kept: Kept) -> Body:
    async def handle() -> None:
        kept.loop.call_soon(give_up, SystemExit())
        await rounds(5)

    def body() -> None:
        task = kept.loop.create_task(handle())
        try:
            kept.run(task)
        except SystemExit:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                kept.run(task)

    return body


def interrupted_and_all_cancelled(kept: Kept) -> Body:
    async def handle() -> None:
        kept.loop.stop()
        await rounds(5)

    async def cancel_all() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def body() -> None:
        with contextlib.suppress(RuntimeError):
            kept.run(handle())
        kept.run(cancel_all())

    return body


def interrupted_and_taken_up_again(kept: Kept) -> Body:
    async def handle() -> None:
        kept.loop.call_soon(give_up, SystemExit())
        await rounds(5)

    def body() -> None:
        task = kept.loop.create_task(handle())
        with contextlib.suppress(SystemExit):
            kept.run(task)
        kept.run(task)

    return body


def asked_to_end_when_interrupted(kept: Kept) -> Body:
    """The clean-up waits for the main task's end, in its own way."""

    async def serve(stopping: asyncio.Event, ended: asyncio.Event) -> None:
        kept.loop.call_soon(give_up, KeyboardInterrupt())
        await stopping.wait()
        await rounds(3)
        ended.set()

    async def end(stopping: asyncio.Event, ended: asyncio.Event) -> None:
        stopping.set()
        await ended.wait()
        await asyncio.sleep(0)

    def body() -> None:
        events = asyncio.Event(), asyncio.Event()
        with contextlib.suppress(KeyboardInterrupt):
            kept.run(serve(*events))
        kept.run(end(*events))

    return body


def done_before_its_run_ends(kept: Kept) -> Body:
    async def audit() -> None:
        await rounds(2)

    async def handle() -> None:
        asyncio.create_task(audit())
        await rounds(5)

    return lambda: kept.run(handle())


def drained(how: str) -> Make:
    def make(kept: Kept) -> Body:
        async def audit() -> None:
            await rounds(3)

        async def handle() -> None:
            task = asyncio.create_task(audit())
            kept.tasks.add(task)
            task.add_done_callback(kept.tasks.discard)
            await asyncio.sleep(0)

        async def drain() -> None:
            if how == "waits":
                await asyncio.wait(kept.tasks)
            while kept.tasks:
                await asyncio.sleep(0)

        def body() -> None:
            kept.run(handle())
            if how == "gather":
                kept.run(asyncio.gather(*asyncio.all_tasks(kept.loop)))
            elif how == "sleep":
                kept.run(asyncio.sleep(0.05))
            else:
                kept.run(drain())

        return body

    return make


def drained_at_the_end(kept: Kept) -> Body:
    """What several runs have begun goes on beside them, and is awaited before all ends."""

    async def audit(stop: asyncio.Event) -> None:
        await stop.wait()

    async def handle(stop: asyncio.Event) -> None:
        task = asyncio.create_task(audit(stop))
        kept.tasks.add(task)
        task.add_done_callback(kept.tasks.discard)
        await asyncio.sleep(0)

    async def end(stop: asyncio.Event) -> None:
        stop.set()
        await asyncio.gather(*kept.tasks)

    def body() -> None:
        stop = asyncio.Event()
        for _ in range(3):
            kept.run(handle(stop))
        kept.run(end(stop))

    return body


def in_a_group_that_spans_runs(kept: Kept) -> Body:
    """A library's object holds the tasks, and somebody holds that."""

    async def begin() -> None:
        kept.thing = asyncio.TaskGroup()
        await kept.thing.__aenter__()

    async def handle() -> None:
        kept.thing.create_task(rounds(4))
        await asyncio.sleep(0)

    def body() -> None:
        kept.run(begin())
        kept.run(handle())
        kept.run(handle())
        kept.run(asyncio.sleep(0.01))

    return body


def gathered_and_kept(kept: Kept) -> Body:
    kept.thing = []

    async def handle() -> None:
        kept.thing.append(asyncio.gather(rounds(4), rounds(5)))
        await asyncio.sleep(0)

    return lambda: kept.run(handle())


def gathered_for_the_caller(kept: Kept) -> Body:
    async def handle() -> Any:
        return [asyncio.gather(rounds(4), rounds(5))]

    def body() -> None:
        first, second = kept.run(handle()), kept.run(handle())
        kept.run(rounds(9))
        assert first[0].done() and second[0].done()

    return body


def services_started_one_by_one(kept: Kept) -> Body:
    """Unkept, but each of them for good: until all that there is is cancelled at the end."""

    async def poll() -> None:
        while True:
            await asyncio.sleep(0)

    async def start() -> None:
        asyncio.create_task(poll())

    def body() -> None:
        kept.run(start())
        kept.run(start())
        kept.run(rounds(3))
        tasks = asyncio.all_tasks(kept.loop)
        for task in tasks:
            task.cancel()
        kept.run(asyncio.wait(tasks))

    return body


def services_told_to_end(kept: Kept) -> Body:
    """Nobody keeps them, but the clean-up has its way to reach them."""

    async def serve(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(0)

    async def start(stop: asyncio.Event) -> None:
        asyncio.create_task(serve(stop))

    async def end(stop: asyncio.Event) -> None:
        stop.set()
        await rounds(3)

    def body() -> None:
        stop = asyncio.Event()
        kept.run(start(stop))
        kept.run(start(stop))
        kept.run(rounds(3))
        kept.run(end(stop))

    return body


def stepped_from_outside(kept: Kept) -> Body:
    """As a GUI does: there are no runs, only turns of the loop."""

    async def work() -> None:
        await rounds(3)

    def body() -> None:
        kept.loop.create_task(work())
        for _ in range(2):
            kept.loop.call_soon(kept.loop.stop)
            kept.loop.run_forever()

    return body


def flushed_later(kept: Kept) -> Body:
    """One at a time, and somebody looks whether it is done."""

    async def flush() -> None:
        await rounds(4)

    async def handle() -> None:
        if kept.thing is None or kept.thing.done():
            kept.thing = asyncio.create_task(flush())
        await asyncio.sleep(0)

    return lambda: kept.run(handle())


def grouped(kept: Kept) -> Body:
    async def handle() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(rounds(3))

    return lambda: kept.run(handle())


def cancelled_by_who_gave_up(kept: Kept) -> Body:
    begun, ended = threading.Semaphore(0), threading.Semaphore(0)

    async def deliver() -> None:
        begun.release()
        try:
            await asyncio.sleep(3600)
        finally:
            await rounds(3)
            ended.release()

    def body() -> None:
        future = kept.hand_over(deliver())
        try:
            future.result(0.001)
        except TimeoutError:
            begun.acquire()  # what has not begun would never end
            future.cancel()
            ended.acquire()

    return body


def cancelled_and_begun_anew_at_once(kept: Kept) -> Body:
    async def deliver() -> None:
        try:
            while not kept.gate.is_set():
                await asyncio.sleep(0.001)
        finally:
            await rounds(3)

    def body() -> None:
        future = kept.hand_over(deliver())
        try:
            future.result(0.001)
        except TimeoutError:
            future.cancel()
        kept.gate.set()
        kept.hand_over(deliver()).result()
        kept.gate.clear()

    return body


def asked_until_it_is_there(kept: Kept) -> Body:
    async def deliver() -> None:
        await waits(kept, "message")

    async def other() -> None:
        kept.gate.set()

    def body() -> None:
        kept.gate.clear()
        future = kept.hand_over(deliver())
        while True:
            with contextlib.suppress(TimeoutError):
                future.result(0.001)
                break
            kept.hand_over(other()).result()

    return body


def told_of_its_end_later(kept: Kept) -> Body:
    async def deliver() -> None:
        await waits(kept, "message")

    async def other() -> None:
        kept.gate.set()

    def body() -> None:
        kept.gate.clear()
        told = threading.Event()
        future = kept.hand_over(deliver())
        with contextlib.suppress(TimeoutError):
            future.result(0.001)
        future.add_done_callback(lambda done: told.set())
        kept.hand_over(other()).result()
        told.wait()

    return body


def done_before_the_next_begins(kept: Kept) -> Body:
    async def deliver() -> None:
        await waits(kept, "message")

    def body() -> None:
        kept.gate.clear()
        future = kept.hand_over(deliver())
        with contextlib.suppress(TimeoutError):
            future.result(0.001)
        kept.gate.set()
        while not future.done():
            threading.Event().wait(0.001)

    return body


def several_at_once(kept: Kept) -> Body:
    async def deliver() -> None:
        await rounds(3)

    def body() -> None:
        futures = [kept.hand_over(deliver()) for _ in range(5)]
        concurrent.futures.wait(futures)

    return body


def job_in_a_pool_of_ones_own(kept: Kept) -> Body:
    async def handle() -> None:
        asyncio.get_running_loop().run_in_executor(kept.pool, kept.gate.wait)
        await asyncio.sleep(0)

    def body() -> None:
        kept.gate.clear()
        for _ in range(2):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(handle())
            loop.close()
        kept.gate.set()

    return body


def job_that_a_kept_loop_does_not_wait_for(kept: Kept) -> Body:
    def write() -> None:
        kept.gate.wait()

    async def handle() -> None:
        kept.thing = kept.loop.run_in_executor(None, write)
        await asyncio.sleep(0)

    def body() -> None:
        kept.run(handle())
        kept.run(handle())
        kept.gate.set()
        kept.run(kept.thing)

    return body


def closed_in_order(kept: Kept) -> Body:
    def write() -> None:
        kept.written.append("line")

    async def handle() -> None:
        asyncio.get_running_loop().run_in_executor(None, write)

    def body() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(handle())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    return body


def retried_within_its_run(kept: Kept) -> Body:
    def load(number: int) -> None:
        if not number:
            kept.gate.wait()

    async def handle() -> None:
        kept.gate.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(load, 0), 0.001)
        await asyncio.to_thread(load, 1)
        kept.gate.set()

    return lambda: asyncio.run(handle())


SAFE: tuple[Make, ...] = (
    consumer_kept,
    consumer_started_once,
    sessions,
    sessions_of_the_caller,
    connections_of_a_server,
    begun_by_the_end_of_a_task_and_kept,
    begun_by_the_end_of_what_no_run_has_started,
    shielded_and_awaited_later,
    interrupted_and_cancelled,
    interrupted_and_all_cancelled,
    interrupted_and_taken_up_again,
    asked_to_end_when_interrupted,
    done_before_its_run_ends,
    drained("waits"),
    drained("polls"),
    drained("gather"),
    drained("sleep"),
    drained_at_the_end,
    in_a_group_that_spans_runs,
    gathered_and_kept,
    gathered_for_the_caller,
    services_started_one_by_one,
    services_told_to_end,
    stepped_from_outside,
    flushed_later,
    grouped,
    cancelled_by_who_gave_up,
    cancelled_and_begun_anew_at_once,
    asked_until_it_is_there,
    told_of_its_end_later,
    done_before_the_next_begins,
    several_at_once,
    job_in_a_pool_of_ones_own,
    job_that_a_kept_loop_does_not_wait_for,
    closed_in_order,
    retried_within_its_run,
)


@pytest.mark.parametrize("make", SAFE, ids=lambda make: make.__qualname__.partition(".")[0])
def test_what_is_meant_to_go_on_is_not(make: Make, kept: Kept) -> None:
    report = pytest_loopsafe.run(make(kept), check=False, loops=4)
    assert [(one.code, one.message) for one in report.findings] == []
    assert [one.error for one in report.passes if one.error is not None] == []
    assert not [note for note in report.notes if "failed" in note]


def test_what_is_gone_when_it_is_asked_for_is_kept_by_nobody() -> None:
    """The collector may come between two looks at a task that only a weak reference leads to."""

    class Asking:
        task = None

        def __init__(self) -> None:
            self.other = None

        def ask(self) -> bool:
            return is_kept(lambda: None)

    assert not Asking().ask()


class Server:
    """What runs a loop, and has the task of it that goes on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.consumer: asyncio.Task[None] | None = None

    def handle(self) -> None:
        self.loop.run_until_complete(self.answer())

    async def answer(self) -> None:
        if self.consumer is None:
            self.consumer = asyncio.create_task(rounds(1_000_000))
        await rounds(2)


def test_what_the_runner_itself_has_is_kept_and_nothing_is_searched(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To read the heap takes 20 ms, and a suite's own runner begins a run for each fixture."""
    asked: list[str] = []

    def get_referrers(*things: Any, read: Any = gc.get_referrers) -> list[Any]:
        asked.append(sys._getframe(1).f_code.co_name)
        found: list[Any] = read(*things)
        return found

    monkeypatch.setattr(gc, "get_referrers", get_referrers)
    report = pytest_loopsafe.run(Server(kept.loop).handle, check=False, loops=3)
    assert [(one.code, one.message) for one in report.findings] == []
    assert "is_kept" not in asked


# -- on other loops, tasks and schedules -----------------------------------------------------------


HAS_TWO_KINDS = sys.version_info >= (3, 14)
"""Whether ``asyncio.current_task()`` knows of the tasks in C alone."""


@pytest.mark.parametrize("factory", [eager_loop, debug_loop, python_task_loop, uv_loop])
@pytest.mark.parametrize(
    "make",
    [interrupted(KeyboardInterrupt), forgotten, held_until_done, with_a_timeout_inside],
    ids=lambda make: make.__qualname__.partition(".")[0],
)
def test_found_on_other_loops_and_tasks_too(make: Make, factory: Any, kept: Kept) -> None:
    if factory is eager_loop and sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    if factory is python_task_loop and make is with_a_timeout_inside and HAS_TWO_KINDS:
        pytest.skip("asyncio.timeout() refuses to be used in a pure-Python task there")
    kept.loop.close()
    kept.loop = factory()
    report = pytest_loopsafe.run(make(kept), check=False, loops=3)
    assert "LS307" in {one.code for one in report.findings}, str(report)


@pytest.mark.parametrize("factory", [eager_loop, debug_loop, python_task_loop, uv_loop])
@pytest.mark.parametrize(
    "make",
    [consumer_kept, consumer_started_once, sessions, drained("waits"), interrupted_and_cancelled],
    ids=lambda make: make.__qualname__.partition(".")[0],
)
def test_and_nothing_else(make: Make, factory: Any, kept: Kept) -> None:
    if factory is eager_loop and sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    kept.loop.close()
    kept.loop = factory()
    report = pytest_loopsafe.run(make(kept), check=False, loops=3)
    assert [(one.code, one.message) for one in report.findings] == []


class Worker:
    """State in a class attribute, a method, a decorator around it."""

    done: list[int] = []  # noqa: RUF012

    @staticmethod
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        async def call(*args: Any) -> Any:
            return await function(*args)

        return call

    async def write(self) -> None:
        await rounds(3)
        self.done.append(1)

    async def handle(self) -> None:
        asyncio.create_task(self.logged(self.write)())
        await asyncio.sleep(0)


def test_found_where_the_schedule_keeps_the_loop() -> None:
    report = pytest_loopsafe.run(Worker().handle, check=False, schedule="persistent")
    assert "LS307" in {one.code for one in report.findings}, str(report)


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads", "concurrent"])
def test_a_loop_that_ends_takes_it_along(schedule: str) -> None:
    report = pytest_loopsafe.run(Worker().handle, check=False, schedule=schedule)
    assert {one.code for one in report.findings} == {"LS301"}, str(report)


def test_a_hang_is_told_once(kept: Kept) -> None:
    """What ends a hang leaves the main task behind, too; that is no second hazard."""

    def body() -> None:
        kept.run(asyncio.sleep(60))

    async def hang() -> None:
        await asyncio.sleep(60)

    for function in (body, lambda: kept.run(hang())):
        report = pytest_loopsafe.run(function, check=False, timeout=0.2)
        assert {one.code for one in report.findings} == {"LS106"}, str(report)


NESTED = """
import asyncio, nest_asyncio, pytest_loopsafe
loop = asyncio.new_event_loop()

async def write():
    for _ in range(3):
        await asyncio.sleep(0)

async def handle():
    asyncio.create_task(write())
    await asyncio.sleep(0)

async def outer():
    nest_asyncio.apply(loop)
    for _ in range(3):
        loop.run_until_complete(handle())
    await asyncio.sleep(0.01)

report = pytest_loopsafe.run(lambda: loop.run_until_complete(outer()), check=False, loops=1)
loop.close()
print([(one.code, one.message) for one in report.findings])
"""


def test_runs_within_a_running_loop_are_none() -> None:
    """As nest_asyncio has it, which patches asyncio for good: the outer loop runs on what they
    leave."""
    pytest.importorskip("nest_asyncio")
    done = subprocess.run(
        [sys.executable, "-c", NESTED], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
