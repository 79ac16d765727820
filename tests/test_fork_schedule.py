"""The schedule ``fork``: each pass in a child of its own, and what comes back from there."""

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe.recipes import LoopLocal

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

state: list[int] = []


def forked(func: Callable[..., Any], **settings: Any) -> pytest_loopsafe.LoopReport:
    settings.setdefault("check", False)
    return pytest_loopsafe.run(func, schedule="fork", **settings)


async def touch() -> tuple[int, int]:
    state.append(1)
    await asyncio.sleep(0)
    return os.getpid(), len(state)


def touch_from_sync_code() -> tuple[int, int]:
    return asyncio.run(touch())


@pytest.mark.parametrize("func", [touch, touch_from_sync_code])
def test_each_pass_begins_with_the_parents_state_in_a_process_of_its_own(func: Any) -> None:
    report = forked(func)
    pids = {pid for pid, _ in report.results}
    assert len(pids) == 3
    assert os.getpid() not in pids
    assert [length for _, length in report.results] == [1, 1, 1]
    assert state == []
    assert [(loop.number, loop.pass_number) for loop in report.loops] == [(1, 1), (2, 2), (3, 3)]
    assert [loop.pid for loop in report.loops] == [pid for pid, _ in report.results]
    assert {one.origin.pid for one in report.passes if one.origin} == pids
    assert not report.findings
    assert not report.notes


def test_concurrency_and_a_loop_factory_are_honoured() -> None:
    async def kind() -> str:
        return type(asyncio.get_running_loop()).__name__

    class Own(asyncio.SelectorEventLoop):
        pass

    assert forked(kind, concurrency=2, loop_factory=Own).results == (["Own", "Own"],) * 3


class OwnError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("wrong"), ValueError, "wrong"),
        (asyncio.CancelledError(), asyncio.CancelledError, ""),
        (ExceptionGroup("all", [KeyError(1)]), ExceptionGroup, "all (1 sub-exception)"),
        (OwnError(1, 2), RuntimeError, "test_fork_schedule.OwnError: 1 and 2"),
    ],
    ids=["picklable", "cancelled", "group", "not picklable"],
)
def test_an_exception_comes_back_with_the_childs_traceback(
    error: BaseException, kind: type, text: str
) -> None:
    def raise_it() -> None:
        raise error

    report = forked(raise_it, loops=2)
    for one in report.passes:
        assert isinstance(one.error, kind)
        assert str(one.error) == text
        (note,) = one.error.__notes__
        assert note.startswith(f"in the forked child {one.origin.pid}:\n")
        assert "Traceback (most recent call last)" in note
        assert "in raise_it" in note
        assert "pytest_loopsafe" not in note


@pytest.mark.parametrize(
    "ending", [SystemExit(3), KeyboardInterrupt(), pytest.skip.Exception("no"), GeneratorExit()]
)
def test_what_ends_a_run_ends_it_from_a_child_too(ending: BaseException) -> None:
    def end() -> None:
        raise ending

    with pytest.raises(type(ending)) as caught:
        forked(end)
    assert caught.value.args == ending.args


def test_a_value_that_cannot_be_pickled_is_none_and_named() -> None:
    report = forked(lambda: threading.Lock(), loops=1)
    assert report.results == (None,)
    (note,) = report.notes
    assert note.startswith("the value of pass 1 cannot be pickled")
    assert "_thread.lock" in note


LOOP_OF_THE_PARENT: list[Any] = []


def use_it_and(end: Callable[[], Any]) -> Callable[[], Any]:
    def body() -> None:
        LOOP_OF_THE_PARENT[0].run_until_complete(asyncio.sleep(0))
        end()

    return body


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os._exit(7), "ended with exit status 7"),
        (lambda: os._exit(0), "ended with exit status 0"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by signal 9 (SIGKILL)"),
    ],
    ids=["os._exit(7)", "os._exit(0)", "SIGKILL"],
)
def test_a_child_that_dies_is_named_and_what_it_found_is_kept(end: Any, words: str) -> None:
    LOOP_OF_THE_PARENT[:] = [asyncio.new_event_loop()]
    try:
        report = forked(use_it_and(end), loops=2)
    finally:
        LOOP_OF_THE_PARENT.pop().close()
    for one in report.passes:
        assert isinstance(one.error, RuntimeError)
        assert f"forked child {one.origin.pid} {words}" in str(one.error)
    (finding,) = report.findings
    assert (finding.code, finding.count, finding.passes) == ("LS401", 2, (1, 2))
    assert len(report.notes) == 2


def test_a_pass_that_hangs_is_ended_by_its_own_watchdog() -> None:
    async def hang() -> None:
        await asyncio.sleep(3600)

    report = forked(hang, timeout=0.3)
    assert [finding.code for finding in report.findings] == ["LS106"]
    assert isinstance(report.results[0], TimeoutError)
    assert len(report.passes) == 1


def test_a_child_that_ignores_everything_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_loopsafe._run import forking

    monkeypatch.setattr(forking, "patience", lambda timeout: timeout)
    monkeypatch.setattr(forking, "_TO_JUDGE", 0.3)

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    report = forked(stop, timeout=0.1)
    assert isinstance(report.results[0], TimeoutError)
    assert "was killed" in report.notes[0]
    assert len(report.passes) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's death")
def test_a_child_does_not_outlive_a_killed_test_process(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, pathlib, threading, time
        import pytest

        def kill():
            while not pathlib.Path("child").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), 9)

        @pytest.mark.multi_loop(schedule="fork", ok_without_loops=True)
        def test_it():
            pathlib.Path("unfinished").write_text(str(os.getpid()))
            os.rename("unfinished", "child")
            time.sleep(20)

        threading.Thread(target=kill, daemon=True).start()
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=60)
    assert result.ret == -signal.SIGKILL
    child = Path("/proc", (pytester.path / "child").read_text())
    deadline = time.monotonic() + 5
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not child.exists()


def test_the_child_judges_its_own_end() -> None:
    async def leave() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(3600))

    def leave_a_loop() -> None:
        asyncio.new_event_loop()

    assert {one.code for one in forked(leave).findings} == {"LS301"}
    (finding,) = forked(leave_a_loop).findings
    assert (finding.code, finding.count, finding.passes) == ("LS304", 3, (1, 2, 3))


def test_a_process_that_is_left_does_not_outlive_the_pass() -> None:
    def leave() -> int:
        context = multiprocessing.get_context("fork")
        process = context.Process(target=time.sleep, args=(60,), daemon=True)
        process.start()
        return process.pid

    (pid,) = forked(leave, loops=1).results
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_loop_local_is_safe_under_it() -> None:
    local = LoopLocal(asyncio.Lock)

    async def body() -> None:
        async with await local.get():
            await asyncio.sleep(0)

    asyncio.run(body())
    report = forked(body, concurrency=2)
    assert not report.findings, str(report)
    assert all(not isinstance(one, BaseException) for one in report.results[0])


def test_assert_rebinds_says_why_not() -> None:
    from pytest_loopsafe._run.rebinding import assert_rebinds
    from pytest_loopsafe._words.settings import Settings, SettingsError

    with pytest.raises(SettingsError, match=r"schedule='fork' is not allowed.*Use 'consecutive'"):
        assert_rebinds(lambda: object(), Settings.checked(schedule="fork"))


def test_without_os_fork_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(pytest_loopsafe.SettingsError, match="schedule='fork' is not possible on"):
        forked(touch)


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_under_pytest(pytester: pytest.Pytester, capture: str) -> None:
    pytester.makepyfile(
        """
        import asyncio, atexit, os, sys
        import pytest

        atexit.register(lambda: print("at exit"))
        loop = None
        lock = asyncio.Lock()

        @pytest.fixture
        def parents_loop():
            global loop
            loop = asyncio.new_event_loop()
            yield loop
            loop.close()
            print("torn down")

        @pytest.mark.multi_loop(2, schedule="fork")
        async def test_safe(tmp_path):
            async with lock:
                print("printed once")
            (tmp_path / "there").touch(exist_ok=True)

        @pytest.mark.multi_loop(2, schedule="fork")
        async def test_fails():
            print("before the failure")
            value = 3
            assert value == 4

        @pytest.mark.multi_loop(2, schedule="fork")
        async def test_skips():
            pytest.skip("not today")

        @pytest.mark.multi_loop(2, schedule="fork")
        def test_unsafe(parents_loop):
            parents_loop.run_until_complete(asyncio.sleep(0))

        @pytest.mark.multi_loop(2, schedule="fork", ok_without_loops=True)
        def test_captures(capsys):
            print("one")
            assert capsys.readouterr().out == "one\\n"
            print("two")
        """
    )
    result = pytester.runpytest_subprocess(f"--capture={capture}", "-rA", timeout=60)
    result.assert_outcomes(passed=2, failed=2, skipped=1)
    text = result.stdout.str()
    assert text.count("printed once") == 2
    assert text.count("before the failure") >= 1
    assert text.count("at exit") == 1
    assert text.count("two\n") >= 2
    result.stdout.fnmatch_lines(
        ["*LS401 fork-inherited-loop*", "*seen in:   forked child *"], consecutive=False
    )
    result.stdout.fnmatch_lines(["*in the forked child*", "*assert 3 == 4*"])
