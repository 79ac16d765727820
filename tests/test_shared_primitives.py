"""LS107, and LS102 where nobody waits: a use counts where a task could have had to wait."""

import asyncio
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe.recipes import LoopLocal

Body = Callable[[Any], Any]
Factory = Callable[[], asyncio.AbstractEventLoop]


def codes(body: Body, make: Callable[[], Any], **options: Any) -> set[str]:
    """What is found where one thing, made beforehand, is given to the same code in each loop."""
    thing = make()

    async def one_pass() -> None:
        await body(thing)

    report = pytest_loopsafe.run(one_pass, check=False, **options)
    assert not report.notes, report.notes
    return {finding.code for finding in report.findings}


# -- held while another task runs ------------------------------------------------------------------


async def around_plain_statements(lock: Any) -> None:
    async with lock:
        pass


async def around_what_schedules(lock: Any) -> None:
    async with lock:
        task = asyncio.create_task(asyncio.sleep(0))
        asyncio.get_running_loop().call_soon(int)
    await task


async def around_another(lock: Any) -> None:
    async with lock, asyncio.Lock():
        pass


async def by_many_around_plain_statements(lock: Any) -> None:
    await asyncio.gather(*(around_plain_statements(lock) for _ in range(20)))


async def awaited_late_around_nothing(lock: Any) -> None:
    taking = lock.acquire()
    await asyncio.sleep(0)
    await taking
    lock.release()


async def around_what_another_loop_runs(lock: Any) -> None:
    async with lock:
        thread = threading.Thread(target=lambda: asyncio.run(asyncio.sleep(0)))
        thread.start()
        thread.join()


async def across_a_sleep(lock: Any) -> None:
    async with lock:
        await asyncio.sleep(0)


async def across_a_timer(lock: Any) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_later(0, done.set_result, None)
    async with lock:
        await done


async def inside_another(lock: Any) -> None:
    async with asyncio.Lock(), lock:
        await asyncio.sleep(0)


async def outside_another(lock: Any) -> None:
    async with lock:
        async with asyncio.Lock():
            pass
        await asyncio.sleep(0)


async def by_several(lock: Any) -> None:
    await around_plain_statements(lock)
    await asyncio.gather(*(across_a_sleep(asyncio.Lock()) for _ in range(3)))
    await across_a_sleep(lock)


async def released_by_a_callback(lock: Any) -> None:
    await lock.acquire()
    asyncio.get_running_loop().call_soon(lock.release)
    await asyncio.sleep(0)


async def released_by_another_task(lock: Any) -> None:
    async def take() -> None:
        await lock.acquire()

    await asyncio.get_running_loop().create_task(take())
    lock.release()


async def each_hundredth_time(lock: Any) -> None:
    for _ in range(100):
        await around_plain_statements(lock)
    await across_a_sleep(lock)


async def three_permits_of_one_task(semaphore: Any) -> None:
    async with semaphore, semaphore, semaphore:
        pass
    async with semaphore:
        pass


HELD: dict[str, tuple[Body, bool]] = {
    body.__name__: (body, counts)
    for counts, bodies in (
        (
            False,
            (
                around_plain_statements,
                around_what_schedules,
                around_another,
                by_many_around_plain_statements,
                awaited_late_around_nothing,
                around_what_another_loop_runs,
            ),
        ),
        (
            True,
            (
                across_a_sleep,
                across_a_timer,
                inside_another,
                outside_another,
                by_several,
                released_by_a_callback,
                released_by_another_task,
                each_hundredth_time,
            ),
        ),
    )
    for body in bodies
}
GATES: dict[str, Callable[[], Any]] = {
    "lock": asyncio.Lock,
    "semaphore": lambda: asyncio.Semaphore(3),
    "bounded semaphore": lambda: asyncio.BoundedSemaphore(3),
}


def python_tasks() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(
        lambda loop, coro, **options: asyncio.tasks._PyTask(coro, loop=loop, **options)
    )
    return loop


def eager_tasks() -> asyncio.AbstractEventLoop:
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def debug_mode() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    return loop


class OwnLoop(asyncio.SelectorEventLoop):
    """A user's class, which may schedule as it likes."""

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        return super().call_soon(callback, *args, context=context)


def uvloops() -> asyncio.AbstractEventLoop:
    return pytest.importorskip("uvloop").new_event_loop()


FACTORIES: tuple[Factory, ...] = (
    asyncio.new_event_loop,
    python_tasks,
    eager_tasks,
    debug_mode,
    OwnLoop,
    uvloops,
)


ON_ALL_LOOPS = [("lock", factory) for factory in FACTORIES]
ON_ONE = [(gate, asyncio.new_event_loop) for gate in GATES if gate != "lock"]


@pytest.mark.parametrize(("gate", "factory"), ON_ALL_LOOPS + ON_ONE)
@pytest.mark.parametrize("name", HELD)
def test_a_lock_counts_where_it_is_held_while_another_task_runs(
    name: str, gate: str, factory: Factory
) -> None:
    body, counts = HELD[name]
    assert codes(body, GATES[gate], loop_factory=factory, loops=2) == (
        {"LS107"} if counts else set()
    )


def test_permits_that_one_task_takes_and_gives_back_within_a_step_do_not_count() -> None:
    assert codes(three_permits_of_one_task, lambda: asyncio.Semaphore(3)) == set()


@pytest.mark.parametrize("body", [across_a_sleep, around_plain_statements])
def test_a_condition_counts_like_its_lock_and_is_named_itself(body: Body) -> None:
    condition = asyncio.Condition()

    async def one_pass() -> None:
        await body(condition)

    report = pytest_loopsafe.run(one_pass, check=False)
    expected = ["one Condition was used in loop 1"] if body is across_a_sleep else []
    assert [finding.message.partition(" and in")[0] for finding in report.findings] == expected


@pytest.mark.parametrize("happens", [True, False])
def test_a_condition_counts_where_it_is_waited_for(happens: bool) -> None:
    async def body(condition: Any) -> None:
        done = [] if happens else [None]

        async def finish() -> None:
            async with condition:
                done.append(None)
                condition.notify_all()

        async with condition:
            task = asyncio.create_task(finish())
            await condition.wait_for(lambda: done)
        await task

    found = codes(body, asyncio.Condition)
    assert found == ({"LS102", "LS107"} & found if happens else set())
    assert bool(found) is happens


def test_a_lock_of_a_library_counts_like_ones_own(tmp_path: Any) -> None:
    source = (
        "import asyncio\n"
        "async def use(lock, pause):\n"
        "    async with lock:\n"
        "        if pause:\n"
        "            await asyncio.sleep(0)\n"
    )
    names: dict[str, Any] = {}
    file = tmp_path / "site-packages" / "pool.py"
    exec(compile(source, str(file), "exec"), names)
    for pause in (True, False):
        found = codes(lambda lock, pause=pause: names["use"](lock, pause), asyncio.Lock)
        assert found == ({"LS107"} if pause else set())


def test_it_is_shown_where_the_holder_took_it() -> None:
    lock = asyncio.Lock()

    async def body() -> None:
        await around_plain_statements(lock)
        await across_a_sleep(lock)

    (finding,) = pytest_loopsafe.run(body, check=False).findings
    assert finding.site.function == "across_a_sleep"
    assert finding.site.code == "async with lock:"
    assert [frame.function.rpartition(".")[2] for frame in finding.stacks[0].frames][-2:] == [
        "body",
        "across_a_sleep",
    ]


# -- several loops ---------------------------------------------------------------------------------


def in_loops(*bodies: Body, make: Callable[[], Any] = asyncio.Lock) -> set[str]:
    """What is found where each loop runs another body with the same thing."""
    thing, rest = make(), list(bodies)

    async def one_pass() -> None:
        await rest.pop(0)(thing)

    report = pytest_loopsafe.run(one_pass, check=False, loops=len(bodies), timeout=1)
    return {finding.code for finding in report.findings}


async def contended(lock: Any) -> None:
    await asyncio.gather(across_a_sleep(lock), across_a_sleep(lock))


async def never_released(lock: Any) -> None:
    await lock.acquire()
    await asyncio.sleep(0)


async def taken_and_the_task_ends(lock: Any) -> None:
    await lock.acquire()


async def released_only(lock: Any) -> None:
    lock.release()


async def tried_for_a_moment(lock: Any) -> None:
    try:
        async with asyncio.timeout(0):
            await lock.acquire()
    except TimeoutError:
        pass


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        ((across_a_sleep, around_plain_statements), set()),
        ((around_plain_statements, across_a_sleep), set()),
        ((across_a_sleep, around_plain_statements, across_a_sleep), {"LS107"}),
        ((contended, around_plain_statements), set()),
        ((contended, across_a_sleep), {"LS102"}),
        ((taken_and_the_task_ends, released_only), set()),
        ((taken_and_the_task_ends, released_only, around_plain_statements), set()),
        ((taken_and_the_task_ends, released_only, across_a_sleep), {"LS107"}),
        ((never_released, tried_for_a_moment), {"LS107"}),
        ((taken_and_the_task_ends, tried_for_a_moment), {"LS107"}),
    ],
    ids=lambda value: "-".join(one.__name__ for one in value) if isinstance(value, tuple) else "",
)
def test_it_has_to_count_in_two_loops(bodies: tuple[Body, ...], expected: set[str]) -> None:
    assert in_loops(*bodies) == expected


def test_a_holder_in_a_loop_that_runs_at_the_same_time_is_met_in_both() -> None:
    lock = asyncio.Lock()
    held, taken = threading.Event(), threading.Event()

    async def holds() -> None:
        await across_a_sleep(lock)
        held.set()
        taken.wait(10)

    async def takes() -> None:
        await around_plain_statements(lock)

    with pytest_loopsafe.watch() as report:
        thread = threading.Thread(target=lambda: asyncio.run(holds()))
        thread.start()
        assert held.wait(10)
        asyncio.run(takes())
        taken.set()
        thread.join()
    assert {finding.code for finding in report.findings} == {"LS107"}


# -- under another lock ----------------------------------------------------------------------------


async def under(guard: Any, lock: Any) -> None:
    async with guard:
        await across_a_sleep(lock)


async def always_under_one(lock: Any, guard: Any) -> None:
    await asyncio.gather(*(under(guard, lock) for _ in range(3)))


async def one_after_the_other(lock: Any, guard: Any) -> None:
    for _ in range(2):
        await asyncio.create_task(under(guard, lock))


async def always_under_two(lock: Any, guard: Any) -> None:
    outermost = asyncio.Lock()

    async def use(*, twice: bool) -> None:
        async with outermost if twice else guard:
            await (under(guard, lock) if twice else across_a_sleep(lock))

    await asyncio.gather(*(use(twice=twice) for twice in (True, False, True)))


async def long_before(lock: Any, guard: Any) -> None:
    async def use() -> None:
        async with guard:
            await asyncio.sleep(0)
            for _ in range(3):
                await around_plain_statements(lock)
                await across_a_sleep(lock)

    await asyncio.gather(*(use() for _ in range(3)))


async def under_one_that_was_waited_for_in_vain(lock: Any, guard: Any) -> None:
    async def gives_up() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await under(guard, lock)

    await asyncio.gather(under(guard, lock), gives_up(), under(guard, lock))


async def once_without(lock: Any, guard: Any) -> None:
    await always_under_one(lock, guard)
    await around_plain_statements(lock)


async def first_without(lock: Any, guard: Any) -> None:
    await around_plain_statements(lock)
    await always_under_one(lock, guard)


async def each_under_its_own(lock: Any, guard: Any) -> None:
    await under(guard, lock)
    await under(asyncio.Lock(), lock)


async def hand_over_hand(lock: Any, guard: Any) -> None:
    async def use() -> None:
        async with guard:
            await lock.acquire()
        await asyncio.sleep(0)
        lock.release()

    await use()
    await asyncio.create_task(use())


async def after_waiting_in_vain(lock: Any, guard: Any) -> None:
    async def gives_up() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await guard.acquire()
        await across_a_sleep(lock)

    async with guard:
        await asyncio.create_task(gives_up())
    await under(guard, lock)


async def guard_given_back_by_a_callback(lock: Any, guard: Any) -> None:
    async def use() -> None:
        await guard.acquire()
        asyncio.get_running_loop().call_soon(guard.release)
        await across_a_sleep(lock)

    await use()
    await asyncio.create_task(use())


async def guard_never_given_back(lock: Any, guard: Any) -> None:
    await guard.acquire()
    await across_a_sleep(lock)


async def under_what_nobody_else_can_come_to(lock: Any, guard: Any) -> None:
    del guard
    async with asyncio.Lock(), lock:
        await asyncio.sleep(0)


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda one: one.__name__)
@pytest.mark.parametrize(
    ("body", "guard", "counts"),
    [
        (always_under_one, asyncio.Lock, False),
        (always_under_one, lambda: asyncio.Semaphore(1), False),
        (always_under_one, lambda: asyncio.BoundedSemaphore(1), False),
        (always_under_two, asyncio.Lock, False),
        (long_before, asyncio.Lock, False),
        (under_one_that_was_waited_for_in_vain, asyncio.Lock, False),
        (once_without, asyncio.Lock, True),
        (first_without, asyncio.Lock, True),
        (each_under_its_own, asyncio.Lock, True),
        (one_after_the_other, asyncio.Lock, False),
        (one_after_the_other, lambda: asyncio.Semaphore(2), True),
        (hand_over_hand, asyncio.Lock, True),
        (after_waiting_in_vain, asyncio.Lock, True),
        (guard_given_back_by_a_callback, asyncio.Lock, True),
        (guard_never_given_back, asyncio.Lock, True),
        (under_what_nobody_else_can_come_to, asyncio.Lock, True),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_is_always_taken_under_one_lock_is_never_waited_for(
    body: Callable[[Any, Any], Any], guard: Callable[[], Any], factory: Factory, *, counts: bool
) -> None:
    if factory is python_tasks and sys.version_info >= (3, 14) and "in_vain" in body.__name__:
        pytest.skip("asyncio.timeout() knows no such tasks")

    async def one_pass(lock: Any) -> None:
        await body(lock, guard())

    assert codes(one_pass, asyncio.Lock, loop_factory=factory) == ({"LS107"} if counts else set())


def test_what_was_bound_elsewhere_and_is_guarded_here_is_never_refused() -> None:
    async def guarded(lock: Any) -> None:
        await always_under_one(lock, asyncio.Lock())

    assert in_loops(contended, guarded) == set()
    assert in_loops(contended, guarded, across_a_sleep) == {"LS102"}


# -- asked first -----------------------------------------------------------------------------------

OTHER = asyncio.Lock()
LOG: list[Any] = []


async def asked(lock: Any) -> None:
    if not lock.locked():
        await across_a_sleep(lock)


async def asked_and_kept(lock: Any) -> None:
    free = not lock.locked()
    if free:
        await across_a_sleep(lock)


async def asked_and_refused(lock: Any) -> None:
    if lock.locked():
        return
    LOG.append(lock.locked())
    await across_a_sleep(lock)


async def asked_until_free(lock: Any) -> None:
    while lock.locked():
        await asyncio.sleep(0)
    await across_a_sleep(lock)


def is_free(lock: Any) -> bool:
    return not lock.locked()


async def asked_by_a_helper(lock: Any) -> None:
    if is_free(lock):
        await across_a_sleep(lock)


async def asked_by_an_awaited_helper(lock: Any) -> None:
    async def free() -> bool:
        return not lock.locked()

    if await free():
        await across_a_sleep(lock)


async def asked_of_several(lock: Any) -> None:
    free = next((one for one in (OTHER, lock) if one is lock and not one.locked()), None)
    if free is not None:
        await across_a_sleep(free)


async def asked_and_scheduled(lock: Any) -> None:
    if not lock.locked():
        task = asyncio.create_task(asyncio.sleep(0))
        await across_a_sleep(lock)
        await task


async def asked_in_an_earlier_step(lock: Any) -> None:
    if not lock.locked():
        await asyncio.sleep(0)
        await across_a_sleep(lock)


async def asked_in_another_task(lock: Any) -> None:
    async def free() -> bool:
        return not lock.locked()

    if await asyncio.get_running_loop().create_task(free()):
        await across_a_sleep(lock)


async def asked_and_ignored(lock: Any) -> None:
    lock.locked()
    await across_a_sleep(lock)


async def asked_and_logged(lock: Any) -> None:
    LOG.append(str(lock.locked()))
    await across_a_sleep(lock)


async def asked_and_taken_anyway(lock: Any) -> None:
    if lock.locked():
        LOG.append("busy")
    await across_a_sleep(lock)


async def asked_about_another(lock: Any) -> None:
    if not OTHER.locked():
        await across_a_sleep(lock)


async def asked_once_taken_twice(lock: Any) -> None:
    if not lock.locked():
        await across_a_sleep(lock)
        await across_a_sleep(lock)


async def until_empty(queue: Any) -> None:
    fill(queue)
    while not queue.empty():
        await queue.get()


async def as_many_as_there_are(queue: Any) -> None:
    fill(queue)
    for _ in range(queue.qsize()):
        await queue.get()


async def more_than_there_may_be(queue: Any) -> None:
    fill(queue)
    if not queue.empty():
        await queue.get()
        await queue.get()


async def counted_for_the_log(queue: Any) -> None:
    fill(queue)
    LOG.append(f"{queue.qsize()} waiting")
    await queue.get()
    queue.get_nowait()


async def counted_for_the_log_and_asked(queue: Any) -> None:
    fill(queue)
    while not queue.empty():
        LOG.append(queue.qsize())
        await queue.get()


async def one_at_a_time(queue: Any) -> None:
    for _ in range(queue.qsize()):
        await queue.get()
        await asyncio.sleep(0)


async def counted_and_read_slowly(queue: Any) -> None:
    fill(queue)
    await one_at_a_time(queue)


async def counted_down_slowly(queue: Any) -> None:
    fill(queue)
    left = queue.qsize()
    while left:
        left -= 1
        await asyncio.sleep(0)
        LOG.append(queue.qsize())
        await queue.get()


async def counted_and_read_with_a_deadline(queue: Any) -> None:
    fill(queue)
    for _ in range(queue.qsize()):
        await asyncio.wait_for(queue.get(), 10)  # on 3.11 another task takes it


async def get_with_a_deadline(queue: Any) -> None:
    fill(queue)
    await asyncio.wait_for(queue.get(), 10)
    empty(queue)


async def counted_while_others_put_and_look(queue: Any) -> None:
    async def fills_and_looks() -> None:
        for _ in range(3):
            queue.put_nowait(None)
            LOG.append(queue.qsize())
            await asyncio.sleep(0)

    fill(queue)
    await asyncio.gather(one_at_a_time(queue), fills_and_looks())
    empty(queue)


async def put_back(queue: Any) -> None:
    for _ in range(queue.qsize()):
        item = await queue.get()
        await asyncio.sleep(0)
        queue.put_nowait(item)


async def counted_and_put_back(queue: Any) -> None:
    fill(queue)
    await put_back(queue)
    empty(queue)


async def counted_and_put_back_by_two(queue: Any) -> None:
    fill(queue)
    fill(queue)
    await asyncio.gather(put_back(queue), put_back(queue))
    empty(queue)


async def counted_before_another_took_one(queue: Any) -> None:
    fill(queue)
    asyncio.get_running_loop().call_soon(queue.get_nowait)
    left = queue.qsize()
    while left > 1:
        left -= 1
        await asyncio.sleep(0)
        await queue.get()


async def counted_and_taken_besides(queue: Any) -> None:
    fill(queue)
    for _ in range(queue.qsize()):
        await asyncio.sleep(0)
        queue.get_nowait()
        fill(queue)
        await queue.get()
    empty(queue)


async def counted_by_another_task(queue: Any) -> None:
    async def count() -> Any:
        return queue.qsize()

    fill(queue)
    for _ in range(await asyncio.get_running_loop().create_task(count())):
        await queue.get()


async def counted_for_the_log_in_an_earlier_step(queue: Any) -> None:
    fill(queue)
    LOG.append(f"{queue.qsize()} waiting")
    await asyncio.sleep(0)
    await queue.get()
    empty(queue)


async def found_not_empty_in_an_earlier_step(queue: Any) -> None:
    fill(queue)
    if not queue.empty():
        await asyncio.sleep(0)
        await queue.get()
    empty(queue)


async def while_there_is_room(queue: Any) -> None:
    while not queue.full():
        await queue.put(None)
    empty(queue)


async def as_many_as_there_is_room_for(queue: Any) -> None:
    for _ in range(queue.maxsize - queue.qsize()):
        await queue.put(None)
    empty(queue)


async def put_unasked(queue: Any) -> None:
    await queue.put(None)
    queue.get_nowait()


async def joined_when_all_is_done(queue: Any) -> None:
    fill(queue)
    while queue.qsize():
        queue.get_nowait()
        queue.task_done()
    await queue.join()


def fill(queue: Any) -> None:
    queue.put_nowait(None)
    queue.put_nowait(None)


def empty(queue: Any) -> None:
    while queue.qsize():
        queue.get_nowait()


LIMITED = lambda: asyncio.Queue(3)  # noqa: E731
ASKED: tuple[tuple[Body, Callable[[], Any], bool], ...] = (
    (asked, asyncio.Lock, False),
    (asked, lambda: asyncio.Semaphore(2), False),
    (asked_and_kept, asyncio.Lock, False),
    (asked_and_refused, asyncio.Lock, False),
    (asked_until_free, asyncio.Lock, False),
    (asked_by_a_helper, asyncio.Lock, False),
    (asked_by_an_awaited_helper, asyncio.Lock, False),
    (asked_of_several, asyncio.Lock, False),
    (asked_and_scheduled, asyncio.Lock, False),
    (asked_in_an_earlier_step, asyncio.Lock, True),
    (asked_in_another_task, asyncio.Lock, True),
    (asked_and_ignored, asyncio.Lock, True),
    (asked_and_logged, asyncio.Lock, True),
    (asked_and_taken_anyway, asyncio.Lock, True),
    (asked_about_another, asyncio.Lock, True),
    (asked_once_taken_twice, asyncio.Lock, True),
    (until_empty, asyncio.Queue, False),
    (as_many_as_there_are, asyncio.Queue, False),
    (counted_for_the_log_and_asked, asyncio.Queue, False),
    (counted_and_read_slowly, asyncio.Queue, False),
    (counted_and_read_slowly, asyncio.LifoQueue, False),
    (counted_down_slowly, asyncio.Queue, False),
    (counted_while_others_put_and_look, asyncio.Queue, False),
    (counted_and_put_back, asyncio.Queue, False),
    (counted_and_put_back_by_two, asyncio.Queue, True),
    (counted_before_another_took_one, asyncio.Queue, True),
    (counted_and_taken_besides, asyncio.Queue, True),
    (counted_by_another_task, asyncio.Queue, True),
    (counted_for_the_log_in_an_earlier_step, asyncio.Queue, True),
    (found_not_empty_in_an_earlier_step, asyncio.Queue, True),
    (more_than_there_may_be, asyncio.Queue, True),
    (counted_for_the_log, asyncio.Queue, True),
    (while_there_is_room, LIMITED, False),
    (as_many_as_there_is_room_for, LIMITED, False),
    (put_unasked, LIMITED, True),
    (put_unasked, asyncio.Queue, False),
    (joined_when_all_is_done, asyncio.Queue, False),
)


@pytest.mark.parametrize(
    "factory", [asyncio.new_event_loop, python_tasks, uvloops], ids=lambda one: one.__name__
)
@pytest.mark.parametrize(
    ("body", "make", "counts"), ASKED, ids=lambda one: getattr(one, "__name__", "")
)
def test_what_asks_first_and_listens_can_never_have_to_wait(
    body: Body, make: Callable[[], Any], counts: bool, factory: Factory
) -> None:
    found = codes(body, make, loop_factory=factory)
    assert found - {"LS306"} == ({"LS107"} if counts else set())


@pytest.mark.parametrize(
    ("body", "counts"), [(counted_and_read_with_a_deadline, False), (get_with_a_deadline, True)]
)
def test_a_deadline_changes_nothing(body: Body, counts: bool) -> None:
    assert codes(body, asyncio.Queue) - {"LS306"} == ({"LS107"} if counts else set())


# -- events ----------------------------------------------------------------------------------------


async def set_and_waited_for(event: Any) -> None:
    event.set()
    await event.wait()


async def cleared_again(event: Any) -> None:
    await set_and_waited_for(event)
    event.clear()


async def cleared_when_it_is_clear(event: Any) -> None:
    event.clear()
    if LOG is None:
        await event.wait()


async def asked_whether_it_is_set(event: Any) -> None:
    event.set()
    if event.is_set():
        await event.wait()
    event.clear()


async def waited_for_once_then_a_flag(event: Any) -> None:
    if not event.is_set():
        asyncio.get_running_loop().call_soon(event.set)
    await event.wait()


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        (set_and_waited_for, False),
        (waited_for_once_then_a_flag, False),
        (cleared_when_it_is_clear, False),
        (asked_whether_it_is_set, False),
        (cleared_again, True),
    ],
)
def test_an_event_counts_where_its_state_changes(body: Body, counts: bool) -> None:
    assert codes(body, asyncio.Event) == ({"LS107"} if counts else set())


# -- the user's own classes ------------------------------------------------------------------------


class PerLoop(asyncio.Lock):
    """Its own lock is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.locks: Any = weakref.WeakKeyDictionary()

    def here(self) -> asyncio.Lock:
        lock: asyncio.Lock = self.locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        return lock

    async def acquire(self) -> Any:
        return await self.here().acquire()

    def release(self) -> None:
        self.here().release()

    def locked(self) -> bool:
        return self.here().locked()


class PerLoopEntered(PerLoop):
    async def __aenter__(self) -> None:
        await self.here().acquire()

    async def __aexit__(self, *error: object) -> None:
        self.here().release()


@pytest.mark.parametrize("kind", [PerLoop, PerLoopEntered])
@pytest.mark.parametrize("body", [across_a_sleep, contended, asked])
def test_what_delegates_is_judged_by_what_is_really_used(body: Body, kind: Any) -> None:
    # A lock that was contended refers to its loop: the dictionary never lets go, which is another
    # matter.
    assert codes(body, kind) - {"LS206"} == set()


def test_nothing_of_the_users_is_called() -> None:
    """Not its ``locked()``, ``qsize()`` or ``maxsize``, nor a property or a ``__getattr__``."""
    calls: list[str] = []

    class Told:
        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            raise AttributeError(name)

    def told(name: str) -> Any:
        return property(lambda self: calls.append(name))

    class Lock(Told, asyncio.Lock):
        locked = told("locked")  # type: ignore[assignment]
        __hash__ = told("__hash__")
        __eq__ = told("__eq__")

    class Event(Told, asyncio.Event):
        is_set = told("is_set")  # type: ignore[assignment]

    class Queue(Told, asyncio.Queue[Any]):
        maxsize = told("maxsize")  # type: ignore[assignment]
        full = lambda self: False  # noqa: E731

        def qsize(self) -> int:
            calls.append("qsize")
            return 0

    async def body(things: Any) -> None:
        lock, event, queue = things
        await across_a_sleep(lock)
        await cleared_again(event)
        await queue.put(None)
        await queue.get()

    def run() -> list[str]:
        calls.clear()
        asyncio.run(body((Lock(), Event(), Queue())))
        return calls.copy()

    bare = run()
    with pytest_loopsafe.watch():
        watched = run()
    assert watched == bare


def test_locks_that_are_kept_for_each_loop_are_in_order() -> None:
    locks = LoopLocal(asyncio.Lock)

    async def body(_: object) -> None:
        await contended(await locks.get())

    assert codes(body, object) == set()


class OfNoLoop(asyncio.Lock):
    """For one loop after the other: it never binds."""

    def _get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()


class Named(asyncio.Lock):
    """Binds as any other does."""


@pytest.mark.parametrize(("kind", "is_safe"), [(OfNoLoop, True), (Named, False)])
def test_a_lock_may_say_itself_which_loop_it_is_of(kind: type, *, is_safe: bool) -> None:
    async def waited_for(lock: Any) -> None:
        with suppress(RuntimeError):
            await contended(lock)

    assert codes(waited_for, kind) == (set() if is_safe else {"LS102"})
    assert codes(across_a_sleep, kind) == (set() if is_safe else {"LS107"})


# -- what it keeps ---------------------------------------------------------------------------------


def test_nothing_is_kept_of_what_has_ended() -> None:
    """Neither of the locks that came and went, nor of the tasks that asked or held one."""
    with pytest_loopsafe.watch():

        async def short(lock: Any) -> None:
            if lock.locked():
                return
            await lock.acquire()

        async def main() -> None:
            for _ in range(2_000):
                await asyncio.create_task(short(asyncio.Lock()))

        from pytest_loopsafe._probes.instrumentation import PROCESS

        patches = PROCESS._patches
        assert patches is not None
        asyncio.run(main())
        assert len(patches.steps) < 600
