"""The engine as a library: `run`, `watch`, and what both leave behind, which is nothing."""

import asyncio
import gc
import inspect
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import pytest

import pytest_loopsafe
from pytest_loopsafe._probes.instrumentation import PROCESS
from pytest_loopsafe._watch import canary


async def use(kept: list[Any]) -> None:
    if not kept:
        kept.append(asyncio.get_running_loop().create_future())
        return
    try:
        await kept[0]
    except Exception:
        pass


def codes(report: pytest_loopsafe.LoopReport) -> list[str]:
    return [finding.code for finding in report.findings]


def test_run_raises_for_a_swallowed_error_and_carries_the_report() -> None:
    with pytest.raises(pytest_loopsafe.LoopSafetyError) as caught:
        pytest_loopsafe.run(use, [])
    assert isinstance(caught.value, AssertionError)
    assert codes(caught.value.report) == ["LS101"]


def test_the_codes_own_exception_comes_out_unchanged_with_the_findings_attached() -> None:
    kept: list[Any] = []
    original = KeyError("mine")

    async def body() -> None:
        await use(kept)
        if len(passes) == 1:
            raise original
        passes.append(1)

    passes: list[int] = []
    with pytest.raises(KeyError) as caught:
        pytest_loopsafe.run(body)
    assert caught.value is original
    assert caught.value.args == ("mine",)
    assert codes(caught.value.loopsafe_report) == ["LS101"]
    (note,) = caught.value.__notes__
    assert "LS101" in note
    assert "raised in passes 2, 3 of 3" in note


def test_without_check_each_outcome_is_in_the_report() -> None:
    async def body() -> int:
        numbers.append(1)
        if len(numbers) == 2:
            raise ValueError("second")
        return len(numbers)

    numbers: list[int] = []
    report = pytest_loopsafe.run(body, check=False)
    assert report.results[0::2] == (1, 3)
    assert isinstance(report.results[1], ValueError)


def test_watch_sees_what_its_block_does_and_is_live() -> None:
    kept: list[Any] = []
    with pytest_loopsafe.watch() as report:
        asyncio.run(use(kept))
        assert codes(report) == []
        asyncio.run(use(kept))
        assert codes(report) == ["LS101"]
    assert report.findings[0].swallowed
    assert len(report.loops) == 2
    with pytest.raises(pytest_loopsafe.LoopSafetyError):
        report.raise_for_errors()


def test_watches_nest_and_the_outer_one_sees_all() -> None:
    with pytest_loopsafe.watch() as outer:
        first: list[Any] = []
        asyncio.run(use(first))
        with pytest_loopsafe.watch() as inner:
            asyncio.run(use(first))
        second: list[Any] = []
        asyncio.run(use(second))
    assert codes(inner) == ["LS101"]
    assert codes(outer) == ["LS101"]
    assert inner.findings[0].home_loop.number <= 0


def test_watches_in_threads_end_in_any_order() -> None:
    one_armed, other_done = threading.Event(), threading.Event()
    before = vars(asyncio.BaseEventLoop)["call_soon"]

    def one() -> None:
        with pytest_loopsafe.watch():
            one_armed.set()
            other_done.wait(10)

    thread = threading.Thread(target=one)
    thread.start()
    one_armed.wait(10)
    with pytest_loopsafe.watch():
        other_done.set()
        thread.join(10)
        assert vars(asyncio.BaseEventLoop)["call_soon"] is not before
    assert vars(asyncio.BaseEventLoop)["call_soon"] is before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_everything_is_put_back_whatever_ends_the_block(error: type[BaseException]) -> None:
    before = vars(asyncio.BaseEventLoop)["call_soon"], vars(asyncio.Lock)["acquire"]
    with pytest.raises(error), pytest_loopsafe.watch():
        raise error
    assert (vars(asyncio.BaseEventLoop)["call_soon"], vars(asyncio.Lock)["acquire"]) == before


def test_an_attribute_that_the_code_replaces_is_left_to_it() -> None:
    original = asyncio.Event.set
    try:
        with pytest_loopsafe.watch():
            hook = asyncio.Event.set

            def theirs(self: Any) -> None:
                hook(self)

            asyncio.Event.set = theirs  # type: ignore[method-assign]
        assert asyncio.Event.set is theirs
        event = asyncio.Event()
        event.set()
        assert event.is_set()
    finally:
        asyncio.Event.set = original  # type: ignore[method-assign]


def test_what_is_async_is_async_under_watch_too() -> None:
    """`create_autospec()` asks, and so do frameworks that call sync and async code."""
    import redis.asyncio

    # inspect's knows no mark on 3.11, asyncio's is deprecated from 3.14 on.
    asked = inspect if sys.version_info >= (3, 12) else asyncio
    is_async: Callable[[Any], bool] = asked.iscoroutinefunction
    client = redis.asyncio.Redis()
    with pytest_loopsafe.watch():
        assert PROCESS._patches is not None
        for owner, name, _, original, now in PROCESS._patches._undo:
            assert is_async(now) == is_async(original), f"{owner!r}.{name}"
        client_mock = create_autospec(client)
        assert isinstance(client_mock.aclose, AsyncMock)
        asyncio.run(client_mock.aclose())


def test_a_run_inside_a_running_loop_is_refused_with_a_reason() -> None:
    async def body() -> None:
        with pytest.raises(RuntimeError, match="cannot do so inside a running one"):
            pytest_loopsafe.run(use, [])

    asyncio.run(body())


def test_no_loop_is_kept_alive() -> None:
    loops: list[weakref.ref[Any]] = []

    async def body() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))

    report = pytest_loopsafe.run(body)
    gc.collect()
    assert [ref() for ref in loops] == [None] * 3
    assert len(report.loops) == 3


@pytest.mark.parametrize("ignore", ["LS101", "LS1", ("LS3", "LS101")])
def test_a_rule_can_be_ignored_by_code_or_family(ignore: Any) -> None:
    assert codes(pytest_loopsafe.run(use, [], ignore=ignore)) == []


def test_strict_makes_a_warning_an_error() -> None:
    class Client:
        def __del__(self) -> None:
            try:
                self.loop.call_soon(print)
            except RuntimeError:
                pass

    async def body() -> None:
        kept.clear()
        gc.collect()
        client = Client()
        client.loop = asyncio.get_running_loop()
        kept.append(client)

    kept: list[Any] = []
    report = pytest_loopsafe.run(body)
    assert [one.code for one in report.warnings] == ["LS303"]
    with pytest.raises(pytest_loopsafe.LoopSafetyError):
        pytest_loopsafe.run(body, strict=True)
    kept.clear()


@pytest.mark.parametrize("kind", [asyncio.BaseEventLoop, asyncio.Lock])
def test_a_detector_that_cannot_see_refuses_to_judge(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What an interpreter would do on which the trick stopped working: nothing emits.
    monkeypatch.setattr(type(PROCESS), "emit", lambda self, sighting: None)
    with pytest.raises(pytest_loopsafe.BlindError, match="cannot call any test loop-safe"):
        pytest_loopsafe.run(use, [])
    before = canary.BlindError
    assert before is pytest_loopsafe.BlindError


def test_a_detector_that_fails_is_switched_off_with_a_warning_and_the_code_runs_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pytest_loopsafe._rules.ls101 import CrossLoopAwait

    def broken(self: Any, sighting: Any) -> Any:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(CrossLoopAwait, "observe", broken)
    with pytest.warns(pytest_loopsafe.LoopsafeWarning, match="LS101 failed and is switched off"):
        report = pytest_loopsafe.run(use, [], check=False)
    assert [result for result in report.results] == [None] * 3


def test_a_fault_of_ours_beside_the_detectors_is_not_the_codes_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pytest_loopsafe._ledger.ledger import Ledger

    def broken(self: Any, sighting: Any) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Ledger, "take", broken)
    with pytest.warns(pytest_loopsafe.LoopsafeWarning, match="failed: ZeroDivisionError: ours"):
        report = pytest_loopsafe.run(use, [], check=False)
    assert report.results == (None,) * 3
    assert any("ZeroDivisionError: ours" in note for note in report.notes)


def test_the_engine_imports_no_pytest() -> None:
    script = (
        "import sys, pytest_loopsafe\n"
        "pytest_loopsafe.run(__import__('asyncio').sleep, 0)\n"
        "sys.exit(any(name.partition('.')[0] in ('pytest', '_pytest', 'redis', 'fakeredis', "
        "'celery', 'uvloop') for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_ten_thousand_of_everything_is_bounded() -> None:
    locks = [asyncio.Lock() for _ in range(10_000)]

    async def one(lock: Any) -> None:
        async with lock:
            await asyncio.sleep(0)

    async def body() -> None:
        await asyncio.gather(*(one(lock) for lock in locks))

    report = pytest_loopsafe.run(body, loops=2, check=False)
    (finding,) = report.findings
    assert (finding.code, finding.count) == ("LS107", 10_000)


def test_a_worker_that_has_caught_the_error_of_a_pass_lives_on() -> None:
    """Its frame is in the traceback of what left the pass; it waits for its next task."""
    kept: dict[str, Any] = {}

    async def worker(queue: asyncio.Queue[Any]) -> None:
        while True:
            number, answer = await queue.get()
            try:
                if number == 1:
                    raise ValueError("bad item")
                answer.set_result(number)
            except ValueError as error:
                answer.set_exception(error)

    async def body() -> int:
        if not kept:
            kept["queue"] = asyncio.Queue()
            kept["task"] = asyncio.create_task(worker(kept["queue"]))
        answer = asyncio.get_running_loop().create_future()
        kept["number"] = kept.get("number", 0) + 1
        await kept["queue"].put((kept["number"], answer))
        result: int = await answer
        return result

    report = pytest_loopsafe.run(body, schedule="persistent", check=False, timeout=5)
    assert [type(one) for one in report.results] == [ValueError, int, int]
