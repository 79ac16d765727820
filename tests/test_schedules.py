"""Schedules: how loops follow one another, and which ``id()`` they get."""

import asyncio
import functools
import gc
import sys
import threading
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._run import addresses


async def own_id() -> int:
    return id(asyncio.get_running_loop())


def own_id_from_sync_code() -> int:
    return asyncio.run(own_id())


def repeats(report: pytest_loopsafe.LoopReport) -> list[bool]:
    ids = report.results
    return [first == second for first, second in zip(ids, ids[1:], strict=False)]


@pytest.mark.parametrize("func", [own_id, own_id_from_sync_code])
def test_recycled_gives_each_loop_its_predecessors_id_or_says_that_it_could_not(func) -> None:
    for attempt in range(10):  # now and then the memory is taken, by luck: more so in a used heap
        report = pytest_loopsafe.run(func, loops=8, schedule="recycled")
        refused = {int(note.split()[1]) for note in report.notes}
        *others, last = repeats(report)
        for number, repeated in enumerate(others, start=2):
            assert repeated is (number not in refused)
        assert len(refused) <= 2 or attempt < 9
        if not last:
            return
    pytest.fail("the last loop had its predecessor's id() each time")


@pytest.mark.parametrize("func", [own_id, own_id_from_sync_code])
@pytest.mark.parametrize(
    ("loops", "schedule", "plan"),
    [
        (3, "consecutive", "new, reused, new"),
        (4, "consecutive", "new, new, reused, new"),
        (7, "consecutive", "new, new, reused, new, reused, new, reused"),
        (2, "recycled", "new, reused"),
        (3, "recycled", "new, reused, reused"),
        (5, "recycled", "new, reused, reused, reused, new"),
    ],
)
def test_which_loops_get_a_new_id(func, loops: int, schedule: str, plan: str) -> None:
    """An id is new that no loop of any run has had; a reused one is the predecessor's."""
    for attempt in range(10):  # now and then the memory is taken, by luck: more so in a used heap
        report = pytest_loopsafe.run(func, loops=loops, schedule=schedule)
        ids = report.results
        kinds = [
            "reused" if index and one == ids[index - 1] else "new" if one not in had else "other"
            for index, one in enumerate(ids)
        ]
        had.update(ids)
        if ", ".join(kinds) == plan:
            return
    raise AssertionError(kinds, attempt)


had: set[int] = set()


@pytest.mark.parametrize("func", [own_id, own_id_from_sync_code])
def test_consecutive_does_both(func) -> None:
    found = repeats(pytest_loopsafe.run(func, loops=9))
    assert True in found
    assert False in found
    assert found[0] is False


def test_persistent_is_one_loop() -> None:
    report = pytest_loopsafe.run(own_id, loops=5, schedule="persistent")
    assert all(repeats(report))
    assert len(report.loops) == 1


def test_nothing_of_ours_takes_the_place_while_it_is_looked_for() -> None:
    """No dictionary, list or tuple is spare: each that is made takes a block of its own."""
    steering = addresses.Steering(addresses.always, 3)
    spare: list[Any] = []
    for _ in range(2):
        loop = steering.make(asyncio.new_event_loop)
        loop.close()
        for _ in range(200):
            spare.extend(({}, [], (spare, 1), (spare, spare, spare, 1)))
        del loop
        steering.reserve()
        steering.next_pass()
    steering.make(asyncio.new_event_loop).close()
    assert [birth.recycled for birth in steering.births] == [True, True]


def test_a_loop_that_is_kept_alive_cannot_be_recycled_and_the_report_says_so() -> None:
    kept = []

    async def keep() -> None:
        kept.append(asyncio.get_running_loop())

    report = pytest_loopsafe.run(keep, loops=3, schedule="recycled")
    assert report.notes == (
        "loop 2 could not take the id() of loop 1: its predecessor is still alive",
        "loop 3 could not take the id() of loop 2: its predecessor is still alive",
    )


def test_consecutive_is_asyncio_run_itself() -> None:
    seen = []

    async def body() -> None:
        seen.append(type(asyncio.get_running_loop()))
        assert asyncio.current_task().get_coro().__name__ == "body"
        asyncio.get_running_loop().create_task(asyncio.sleep(1000))

    pytest_loopsafe.run(body)
    assert len(set(seen)) == 1
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_concurrency_gathers_so_many_calls_in_each_loop() -> None:
    tasks: list[tuple[int, str]] = []

    async def body() -> str:
        await asyncio.sleep(0)
        tasks.append((id(asyncio.get_running_loop()), asyncio.current_task().get_name()))
        return "done"

    report = pytest_loopsafe.run(body, loops=2, concurrency=4)
    assert report.results == (["done"] * 4, ["done"] * 4)
    assert len({name for _, name in tasks}) == 8


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "persistent"])
def test_a_loop_factory_makes_the_loops(schedule: str) -> None:
    made = []

    def factory() -> asyncio.AbstractEventLoop:
        loop = asyncio.SelectorEventLoop()
        made.append(type(loop))
        return loop

    report = pytest_loopsafe.run(own_id, schedule=schedule, loop_factory=factory)
    assert len(made) == len(report.loops) == (1 if schedule == "persistent" else 3)


def test_uvloop_is_watched_and_left_as_it_was() -> None:
    uvloop = pytest.importorskip("uvloop")
    before = dict(vars(uvloop.Loop))
    report = pytest_loopsafe.run(own_id, loop_factory=uvloop.new_event_loop)
    assert [loop.kind for loop in report.loops] == ["uvloop.Loop"] * 3
    assert dict(vars(uvloop.Loop)) == before


@pytest.mark.parametrize("schedule", ["consecutive", "threads", "concurrent"])
@pytest.mark.parametrize("kind", ["own", "uvloop"])
def test_each_class_of_loops_is_covered_once_however_many_there_are(
    kind: str, schedule: str
) -> None:
    depths = []

    class Own(asyncio.SelectorEventLoop):
        def call_soon(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
            return super().call_soon(*args, **kwargs)

    async def body() -> None:
        found, depth = vars(cls)["call_soon"], 0
        while (found := getattr(found, "__wrapped__", None)) is not None:
            depth += 1
        depths.append(depth)

    cls = Own if kind == "own" else pytest.importorskip("uvloop").Loop
    pytest_loopsafe.run(body, loop_factory=cls, loops=1)
    pytest_loopsafe.run(body, loop_factory=cls, schedule=schedule)
    assert depths == depths[:1] * 4


def test_code_that_makes_uvloops_itself_is_watched() -> None:
    uvloop = pytest.importorskip("uvloop")
    kept = []

    async def body() -> None:
        if not kept:
            kept.append(asyncio.get_running_loop().create_future())
            return
        try:
            await kept[0]
        except Exception:
            pass

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(body())

    report = pytest_loopsafe.run(run, check=False)
    assert [finding.code for finding in report.findings] == ["LS101"]


@pytest.mark.parametrize(
    ("how", "kinds"),
    [
        ("asyncio.run", 3),
        ("runner", 3),
        ("new_event_loop", 3),
        ("anyio", 3),
    ],
)
def test_loops_that_sync_code_makes_are_numbered_and_placed(how: str, kinds: int) -> None:
    def body() -> None:
        if how == "asyncio.run":
            asyncio.run(own_id())
        elif how == "runner":
            with asyncio.Runner() as runner:
                runner.run(own_id())
        elif how == "anyio":
            pytest.importorskip("anyio").run(own_id)
        else:
            loop = asyncio.new_event_loop()
            loop.run_until_complete(own_id())
            loop.close()

    report = pytest_loopsafe.run(body)
    assert [loop.number for loop in report.loops] == [1, 2, 3]
    for loop in report.loops:
        assert any(frame.file == __file__ for frame in loop.created)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (lambda: 7, "int instead of an event loop"),
        (lambda: None, "NoneType instead of an event loop"),
    ],
)
def test_a_factory_that_returns_something_else_is_named(factory, words: str) -> None:
    with pytest.raises(pytest_loopsafe.LoopFactoryError, match=words):
        pytest_loopsafe.run(own_id, loop_factory=factory)


def test_a_factory_that_returns_a_closed_loop_is_named() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(pytest_loopsafe.LoopFactoryError, match="a closed event loop"):
        pytest_loopsafe.run(own_id, loop_factory=lambda: loop)


@pytest.mark.usefixtures("thawed")
def test_nothing_is_frozen_afterwards_and_nothing_of_the_users_is_thawed() -> None:
    tolerated = 2_000 if sys.version_info[:2] == (3, 12) else 0
    assert gc.get_freeze_count() <= tolerated
    pytest_loopsafe.run(own_id)
    assert gc.get_freeze_count() <= tolerated
    gc.freeze()
    frozen = gc.get_freeze_count()
    try:
        pytest_loopsafe.run(own_id)
        assert gc.get_freeze_count() >= frozen * 0.9
    finally:
        gc.unfreeze()


def test_arguments_are_passed_on() -> None:
    async def body(*args: int, **kwargs: int) -> tuple[tuple[int, ...], dict[str, int]]:
        return args, kwargs

    report = pytest_loopsafe.run(body, 1, 2, loops=1, extra=3)
    assert report.results == (((1, 2), {"extra": 3}),)
    assert pytest_loopsafe.run(functools.partial(body, 4), loops=1).results == (((4,), {}),)


def test_a_loop_that_another_thread_makes_meanwhile_is_left_to_luck() -> None:
    """One place at a time is held for a loop; who makes another does not wait, nor disturb it."""
    steering = addresses.Steering(addresses.always, passes=2)
    made = [steering.make(asyncio.new_event_loop)]

    def beside_another() -> asyncio.AbstractEventLoop:
        thread = threading.Thread(target=lambda: made.append(steering.make(asyncio.new_event_loop)))
        thread.start()
        thread.join()
        return asyncio.new_event_loop()

    made.append(steering.make(beside_another))
    assert [birth.wanted for birth in steering.births] == [True]
    for loop in made:
        loop.close()
    assert len(made) == 3
