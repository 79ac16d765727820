"""Each rule: the hazard is found, with its loops; without its detector it is not; and a twin of
the same shape that is loop-safe is never accused."""

import asyncio
import gc
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import cases
import pytest
from other_loops import debug_loop, eager_loop, python_task_loop, uv_loop

import pytest_loopsafe
from pytest_loopsafe import _rules as detectors
from pytest_loopsafe._watch import canary
from pytest_loopsafe._watch import watch as watching
from pytest_loopsafe.recipes import LoopLocal

Body = Callable[[], Awaitable[Any]]


class Shared:
    """What a module would hold globally: made once, in the first loop."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def once(self, make: Callable[[], Any]) -> Any:
        return self.kept.setdefault("it", None) or self.kept.update(it=make()) or self.kept["it"]


def future() -> Any:
    return asyncio.get_running_loop().create_future()


# -- hazards: each returns the body of a pass -----------------------------------------------------


def awaits_a_future() -> Body:
    shared = Shared()

    async def body() -> None:
        if "it" not in shared.kept:
            shared.once(future)
            return
        await shared.kept["it"]

    return body


def awaits_a_task() -> Body:
    shared = Shared()

    async def forever() -> None:
        await asyncio.sleep(1000)

    async def body() -> None:
        loop = asyncio.get_running_loop()
        if "it" not in shared.kept:
            # A task that its loop has not cancelled: as after run_until_complete() and close().
            shared.kept["it"] = stranger.create_task(forever())
            return
        assert loop is not stranger
        await shared.kept["it"]

    stranger = asyncio.new_event_loop()
    return body


def swallowed(inner: Body) -> Body:
    async def body() -> None:
        try:
            await inner()
        except Exception:
            pass

    return body


def wrapped(inner: Body) -> Body:
    async def body() -> None:
        try:
            await inner()
        except RuntimeError as error:
            raise ConnectionError("lost") from error

    return body


def in_background(inner: Body) -> Body:
    async def body() -> None:
        task = asyncio.create_task(inner())  # type: ignore[arg-type]
        await asyncio.sleep(0.001)
        task.cancelled() or task.exception()

    return body


def gathered(inner: Body) -> Body:
    async def body() -> None:
        await asyncio.gather(inner(), return_exceptions=True)

    return body


def in_handler_of_the_loop(inner: Body) -> Body:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        tasks: list[Any] = []
        loop.set_exception_handler(lambda *_: tasks.append(loop.create_task(inner())))  # type: ignore[arg-type]
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.001)
        await asyncio.gather(*tasks, return_exceptions=True)

    return body


def shielded() -> Body:
    shared = Shared()

    async def body() -> None:
        if "it" not in shared.kept:
            shared.once(future)
            return
        await asyncio.shield(shared.kept["it"])

    return body


def waited_for() -> Body:
    shared = Shared()

    async def body() -> None:
        if "it" not in shared.kept:
            shared.once(future)
            return
        await asyncio.wait_for(shared.kept["it"], 5)

    return body


def gathers_a_future() -> Body:
    shared = Shared()

    async def body() -> None:
        if "it" not in shared.kept:
            shared.once(future)
            return
        await asyncio.gather(asyncio.sleep(0), shared.kept["it"])

    return body


def completed() -> Body:
    shared = Shared()

    async def body() -> None:
        if "it" not in shared.kept:
            shared.once(future)
            return
        for one in asyncio.as_completed([shared.kept["it"]]):
            await one

    return body


def contended(make: Callable[[], Any], use: Callable[[Any], Awaitable[Any]]) -> Body:
    shared = Shared()
    shared.once(make)

    async def body() -> None:
        await use(shared.kept["it"])

    return body


async def hold(lock: Any) -> None:
    async with lock:
        await asyncio.sleep(0)


async def hold_twice(lock: Any) -> None:
    await asyncio.gather(hold(lock), hold(lock))


async def wait_for_event(event: Any) -> None:
    asyncio.get_running_loop().call_soon(event.set)
    await event.wait()
    event.clear()


async def wait_for_condition(condition: Any) -> None:
    async def notify() -> None:
        async with condition:
            condition.notify_all()

    async with condition:
        task = asyncio.create_task(notify())
        await condition.wait()
    await task


async def queue_waits(queue: Any) -> None:
    asyncio.get_running_loop().call_soon(queue.put_nowait, 1)
    await queue.get()


async def queue_join_waits(queue: Any) -> None:
    queue.put_nowait(1)
    queue.get_nowait()
    asyncio.get_running_loop().call_soon(queue.task_done)
    await queue.join()


async def barrier_waits(barrier: Any) -> None:
    await asyncio.gather(barrier.wait(), barrier.wait())


async def event_passes(event: Any) -> None:
    event.set()
    await event.wait()
    event.clear()


async def queue_passes(queue: Any) -> None:
    await queue.put(1)
    await queue.get()


def calls_a_closed_loop(method: str) -> Body:
    shared = Shared()

    async def body() -> None:
        if "it" not in shared.kept:
            shared.kept["it"] = asyncio.get_running_loop()
            return
        arguments = {"call_later": (0, print), "call_at": (0, print)}.get(method, (print,))
        getattr(shared.kept["it"], method)(*arguments)

    return body


def sets_up_a_closed_loop(method: str, make: Callable[[], Any]) -> Body:
    shared = Shared()

    async def body() -> None:
        loop = shared.once(asyncio.get_running_loop)
        getattr(loop, method)(make())

    return body


def writes_through_a_closed_loop() -> Body:
    shared = Shared()

    async def body() -> None:
        if "it" not in shared.kept:
            server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
            host, port = server.sockets[0].getsockname()
            _, shared.kept["it"] = await asyncio.open_connection(host, port)
            shared.kept["server"] = server
            return
        shared.kept["it"].write(b"lost")
        shared.kept["it"].transport.get_extra_info("socket")._sock.close()

    return body


def runs_a_loop_within_a_loop() -> Body:
    async def body() -> None:
        asyncio.run(asyncio.sleep(0))

    return body


def waits_for_a_foreign_future() -> Body:
    shared = Shared()

    async def body() -> None:
        if "it" not in shared.kept:
            shared.once(future)
            return
        await asyncio.wait([shared.kept["it"]], timeout=0.01)

    return body


def hangs() -> Body:
    async def body() -> None:
        await asyncio.Event().wait()

    return body


def leaves_a_task() -> Body:
    loop = asyncio.new_event_loop()
    shared = Shared()

    async def write() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def handle() -> None:
        asyncio.create_task(write())
        await asyncio.sleep(0)

    def body() -> Any:
        shared.kept["runs"] = shared.kept.get("runs", 0) + 1
        loop.run_until_complete(handle())
        if shared.kept["runs"] == 3:
            loop.close()

    return body


def finds_closed_loop_in_a_finalizer() -> Body:
    shared = Shared()

    class Client:
        def __init__(self) -> None:
            self.loop = asyncio.get_running_loop()

        def __del__(self) -> None:
            try:
                self.loop.call_soon(print)
            except RuntimeError:
                pass

    async def body() -> None:
        if shared.kept.pop("it", None) is None:
            shared.kept["it"] = Client()
        gc.collect()

    return body


@dataclass
class Case:
    """A hazard; `swallowed` is None where nothing is raised that could be."""

    code: str
    make: Callable[[], Body]
    swallowed: bool | None
    options: dict[str, Any] = field(default_factory=dict)


A = awaits_a_future
PRIMITIVES: dict[str, tuple[Any, Any, Any]] = {
    "lock": (asyncio.Lock, hold_twice, hold),
    "semaphore": (lambda: asyncio.Semaphore(1), hold_twice, hold),
    "bounded semaphore": (lambda: asyncio.BoundedSemaphore(1), hold_twice, hold),
    "condition": (asyncio.Condition, wait_for_condition, hold),
    "event": (asyncio.Event, wait_for_event, event_passes),
    "queue": (asyncio.Queue, queue_waits, queue_passes),
    "queue join": (asyncio.Queue, queue_join_waits, None),
    "priority queue": (asyncio.PriorityQueue, queue_waits, queue_passes),
    "barrier": (lambda: asyncio.Barrier(2), barrier_waits, None),
}

CASES: dict[str, Case] = {
    "await a future": Case("LS101", A, False),
    "await a task": Case("LS101", awaits_a_task, False),
    "swallowed": Case("LS101", lambda: swallowed(A()), True),
    "wrapped": Case("LS101", lambda: wrapped(A()), False),
    "in a background task": Case("LS101", lambda: in_background(A()), True),
    "gather(return_exceptions)": Case("LS101", lambda: gathered(A()), True),
    "in a loop's exception handler": Case("LS101", lambda: in_handler_of_the_loop(A()), True),
    "shield": Case("LS101", shielded, False),
    "wait_for": Case("LS101", waited_for, False),
    "gather": Case("LS101", gathers_a_future, False),
    "gather, swallowed": Case("LS101", lambda: swallowed(gathers_a_future()), True),
    "as_completed": Case("LS101", completed, False),
    **{
        f"{name}, contended": Case("LS102", lambda m=make, u=use: contended(m, u), False)
        for name, (make, use, _) in PRIMITIVES.items()
        if use
    },
    "lock, contended and swallowed": Case(
        "LS102", lambda: swallowed(contended(asyncio.Lock, hold_twice)), True
    ),
    **{
        f"{method} on a closed loop": Case("LS103", lambda m=method: calls_a_closed_loop(m), False)
        for method in ("call_soon", "call_soon_threadsafe", "call_later", "call_at")
    },
    **{
        f"{method} on a closed loop": Case(
            "LS103", lambda m=method, f=make: sets_up_a_closed_loop(m, f), None
        )
        for method, make in {
            "set_exception_handler": lambda: lambda loop, context: None,
            "set_task_factory": lambda: lambda loop, coro, **_: asyncio.Task(coro, loop=loop),
            "set_default_executor": lambda: ThreadPoolExecutor(1),
        }.items()
    },
    "closed loop, swallowed": Case(
        "LS103", lambda: swallowed(calls_a_closed_loop("call_soon")), True
    ),
    "write through a closed loop": Case("LS103", writes_through_a_closed_loop, None),
    "hang": Case("LS106", hangs, None, {"timeout": 0.2}),
    **{
        f"{name}, nobody waits": Case("LS107", lambda m=make, u=use: contended(m, u), None)
        for name, (make, _, use) in PRIMITIVES.items()
        if use
    },
    "asyncio.wait": Case("LS108", waits_for_a_foreign_future, None),
    "task that goes on in the next run": Case("LS307", leaves_a_task, None),
    "run within a run": Case("LS109", lambda: swallowed(runs_a_loop_within_a_loop()), True),
    "closed loop in a finalizer": Case("LS303", finds_closed_loop_in_a_finalizer, None),
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@each_case
def test_the_hazard_is_found(case: Case) -> None:
    report = pytest_loopsafe.run(case.make(), check=False, **case.options)
    finding = next((one for one in report.findings if one.code == case.code), None)
    assert finding is not None, str(report)
    assert finding.site is not None
    assert finding.site.file == __file__
    if case.swallowed is not None:
        assert finding.swallowed is case.swallowed
    if case.code in ("LS101", "LS102", "LS107", "LS108"):
        assert finding.loop.number == 2
        assert finding.home_loop.number in (0, 1)


@each_case
def test_without_its_detector_it_is_not(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    others = tuple(
        kind for kind in detectors.discover() if case.code not in {rule.code for rule in kind.rules}
    )
    monkeypatch.setattr(watching, "discover", lambda: others)
    monkeypatch.setattr(canary, "sing", lambda probes: ())  # it would rightly refuse to judge
    report = pytest_loopsafe.run(case.make(), check=False, **case.options)
    assert case.code not in {finding.code for finding in report.findings}


def test_every_rule_has_a_case() -> None:
    """Here, or in the corpus: what is bound to a loop and left behind takes real connections.

    What a fork leaves to a child takes a fork, and is in test_forks.py.
    """
    corpus = {code for path in cases.paths() for code in cases.read(path).finds}
    here = {case.code for case in CASES.values()}
    assert here | corpus | {"LS401", "LS402"} == {rule.code for rule in detectors.rules()}


futures: dict[str, Any] = {}


def test_what_is_awaited_through_shield_is_its_owners() -> None:
    async def body() -> None:
        if not futures:
            futures["it"] = asyncio.get_running_loop().create_future()
            return
        await asyncio.shield(futures["it"])

    report = pytest_loopsafe.run(body, check=False)
    assert [(one.code, one.owner) for one in report.errors] == [
        ("LS101", f"{__name__}.futures['it']")
    ]


# -- loop-safe code of the same shapes -------------------------------------------------------------


def lock_for_each_loop() -> Body:
    locks = LoopLocal(asyncio.Lock)

    async def body() -> None:
        await hold_twice(await locks.get())

    return body


def event_set_for_good() -> Body:
    ready = asyncio.Event()
    ready.set()

    async def body() -> None:
        await ready.wait()

    return body


def finished_future_as_a_cache() -> Body:
    shared = Shared()

    async def body() -> None:
        if "it" not in shared.kept:
            shared.once(future).set_result(1)
        assert await shared.kept["it"] == 1

    return body


def queue_as_a_plain_list() -> Body:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def body() -> None:
        await queue.put(1)
        queue.get_nowait()

    return body


def cancelled_and_awaited() -> Body:
    async def body() -> None:
        task = asyncio.create_task(asyncio.sleep(1000))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    return body


def thread_with_its_own_loop() -> Body:
    async def body() -> None:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            done = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "x"), loop)
            assert await asyncio.wrap_future(done) == "x"
        finally:
            loop.call_soon_threadsafe(loop.stop)
            await asyncio.to_thread(thread.join)
            loop.close()

    return body


def late_thread_that_is_prepared() -> Body:
    shared = Shared()

    async def body() -> None:
        loop = shared.kept.setdefault("it", asyncio.get_running_loop())
        if loop is asyncio.get_running_loop():
            return

        def late() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except RuntimeError:
                pass

        await asyncio.to_thread(late)

    return body


def client_in_each_pass() -> Body:
    async def body() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await reader.read()
            writer.close()
            await writer.wait_closed()

    return body


SAFE: tuple[Callable[[], Body], ...] = (
    lock_for_each_loop,
    event_set_for_good,
    finished_future_as_a_cache,
    queue_as_a_plain_list,
    cancelled_and_awaited,
    thread_with_its_own_loop,
    late_thread_that_is_prepared,
    client_in_each_pass,
)


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "persistent"])
@pytest.mark.parametrize("make", SAFE, ids=lambda make: make.__name__)
def test_loop_safe_code_is_never_accused(make: Callable[[], Body], schedule: str) -> None:
    report = pytest_loopsafe.run(make(), schedule=schedule, loops=4)
    assert [(f.code, f.message, f.owner) for f in report.findings] == []


@pytest.mark.parametrize("make", SAFE, ids=lambda make: make.__name__)
def test_nor_under_uvloop(make: Callable[[], Body]) -> None:
    uvloop = pytest.importorskip("uvloop")
    report = pytest_loopsafe.run(make(), loop_factory=uvloop.new_event_loop)
    assert [(f.code, f.message, f.owner) for f in report.findings] == []


UNDER_OTHER_LOOPS = ("await a future", "swallowed", "lock, contended", "lock, nobody waits",
                     "call_soon on a closed loop", "asyncio.wait", "hang")  # fmt: skip


@pytest.mark.parametrize("factory", [eager_loop, debug_loop, python_task_loop, uv_loop])
@pytest.mark.parametrize("name", UNDER_OTHER_LOOPS)
def test_found_on_other_loops_and_tasks_too(name: str, factory: Any) -> None:
    if factory is eager_loop and sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    case = CASES[name]
    report = pytest_loopsafe.run(case.make(), check=False, loop_factory=factory, **case.options)
    assert case.code in {finding.code for finding in report.findings}, str(report)


def test_what_was_refused_is_told_and_not_what_went_well_at_the_same_line() -> None:
    """The first to come in the later loop need not wait; the next one has to, and is refused."""
    lock = asyncio.Lock()

    async def hold() -> None:
        async with lock:
            await asyncio.sleep(0)

    async def body() -> None:
        await asyncio.gather(hold(), hold(), return_exceptions=True)

    report = pytest_loopsafe.run(body, loops=2, check=False)
    (finding,) = [one for one in report.findings if one.code == "LS102"]
    assert finding.count == 2
    assert finding.swallowed
    assert finding.message == "a Lock bound to loop 1 (closed) was used in loop 2"
