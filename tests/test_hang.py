"""LS106: a hang ends, is explained, and nothing found before it is lost."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._rules.ls106 import PassTimedOut
from pytest_loopsafe._run import alarm
from pytest_loopsafe._run.watchdog import PassAborted, Watchdog
from pytest_loopsafe._watch.watch import Watch

BRIEF = 0.4
ALARMS = (
    signal.SIGALRM,
    *range(getattr(signal, "SIGRTMIN", 0), getattr(signal, "SIGRTMAX", -1) + 1),
)


def run(func: Callable[[], Any], **options: Any) -> pytest_loopsafe.LoopReport:
    return pytest_loopsafe.run(func, timeout=BRIEF, check=False, **options)


def only_hang(report: pytest_loopsafe.LoopReport) -> pytest_loopsafe.Finding:
    (finding,) = (one for one in report.findings if one.code == "LS106")
    return finding


def test_a_pass_that_waits_for_ever_ends_and_the_rest_is_not_run() -> None:
    async def body() -> None:
        await asyncio.Event().wait()

    started = time.monotonic()
    report = run(body, loops=5)
    assert time.monotonic() - started < 5
    assert len(report.passes) == 1
    assert isinstance(report.results[0], TimeoutError)
    assert "waits for an Event" in only_hang(report).message
    with pytest.raises(pytest_loopsafe.LoopSafetyError, match="LS106"):
        pytest_loopsafe.run(body, timeout=BRIEF)


def test_each_task_is_shown_with_what_it_waits_for() -> None:
    async def worker(future: Any) -> None:
        await future

    async def body() -> None:
        future = asyncio.get_running_loop().create_future()
        # Kept: a loop keeps no task, and the collector may come at any moment.
        task = asyncio.create_task(worker(future), name="worker-1")
        await asyncio.sleep(1000)
        await task

    titles = [stack.title for stack in only_hang(run(body)).stacks]
    assert any("'worker-1'" in title and "waits for a Future" in title for title in titles)
    assert any("body()" in title for title in titles)


nobody_puts: asyncio.Queue[int] = asyncio.Queue()


def test_the_owner_is_who_holds_what_is_waited_for() -> None:
    class Client:
        def __init__(self, items: asyncio.Queue[int]) -> None:
            self.items = items

        async def receive(self) -> int:
            return await self.items.get()

    found = only_hang(run(Client(nobody_puts).receive))
    assert found.owner == "test_hang.nobody_puts"

    async def receive_of_its_own() -> int:
        return await Client(asyncio.Queue()).receive()

    assert only_hang(run(receive_of_its_own)).owner is None


def test_a_foreign_future_behind_the_hang_is_named_with_its_loop() -> None:
    kept: list[Any] = []

    async def body() -> None:
        if not kept:
            kept.append(asyncio.get_running_loop().create_future())
            return
        await asyncio.wait([kept[0]])

    report = run(body)
    assert {"LS106", "LS108"} == {finding.code for finding in report.findings}
    assert len(report.passes) == 2


def test_a_lock_is_named_with_the_loop_that_took_it() -> None:
    lock = asyncio.Lock()

    async def body() -> None:
        await lock.acquire()

    finding = only_hang(run(body))
    assert finding.home_loop is not None
    assert (finding.loop.number, finding.home_loop.number) == (2, 1)
    assert "waits for a Lock held since loop 1" in finding.message


def test_a_permit_is_named_with_the_loop_that_took_it() -> None:
    semaphore = asyncio.Semaphore(2)

    async def body() -> None:
        await semaphore.acquire()
        await semaphore.acquire()

    assert "waits for a Semaphore held since loop 1" in only_hang(run(body)).message


def test_a_lock_that_is_held_in_its_own_loop_blames_no_other() -> None:
    lock = asyncio.Lock()

    async def body() -> None:
        async with lock:
            pass
        if len(passes) == 1:
            await lock.acquire()
            await lock.acquire()
        passes.append(1)

    passes: list[int] = []
    finding = only_hang(run(body))
    assert finding.home_loop is None
    assert "held since" not in finding.message


def test_a_task_that_swallows_cancellation_is_stopped() -> None:
    async def body() -> None:
        for _ in range(1_000):
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                pass

    assert isinstance(run(body).results[0], TimeoutError)


@pytest.mark.parametrize("blocks", ["sleep", "lock", "loop"])
def test_blocking_sync_code_is_freed(blocks: str) -> None:
    def body() -> None:
        if blocks == "sleep":
            time.sleep(60)
        elif blocks == "lock":
            threading.Event().wait(60)
        else:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                pass

    started = time.monotonic()
    report = run(body)
    assert time.monotonic() - started < 10
    assert "blocks in sync code" in only_hang(report).message


def test_blocking_code_inside_a_loop_is_freed_and_shown() -> None:
    async def body() -> None:
        time.sleep(60)

    started = time.monotonic()
    finding = only_hang(run(body))
    assert time.monotonic() - started < 10
    assert any(frame.code == "time.sleep(60)" for stack in finding.stacks for frame in stack.frames)


def test_a_hang_in_another_thread_ends_too() -> None:
    async def body() -> None:
        await asyncio.Event().wait()

    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(run(body)))
    thread.start()
    thread.join(20)
    assert [finding.code for finding in found[0].findings] == ["LS106"]


def test_what_was_found_before_the_hang_is_kept() -> None:
    kept: list[Any] = []

    async def body() -> None:
        if not kept:
            kept.append(asyncio.get_running_loop().create_future())
            return
        try:
            await kept[0]
        except RuntimeError:
            pass
        await asyncio.Event().wait()

    assert {"LS101", "LS106"} == {finding.code for finding in run(body).findings}


def test_a_pass_in_time_leaves_no_timer_and_no_thread() -> None:
    threads = threading.active_count()
    seen: list[int] = []

    async def body() -> None:
        seen.append(threading.active_count())

    pytest_loopsafe.run(body)
    assert seen == [threads] * 3
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert not [number for number in ALARMS if signal.getsignal(number) is not signal.SIG_DFL]


def test_a_timer_of_the_users_is_left_alone() -> None:
    def mine(*_: Any) -> None: ...

    previous = signal.signal(signal.SIGALRM, mine)
    try:

        async def body() -> None:
            await asyncio.Event().wait()

        assert only_hang(run(body))
        assert signal.getsignal(signal.SIGALRM) is mine
    finally:
        signal.signal(signal.SIGALRM, previous)


# -- code that has a use for the clock itself ---------------------------------------------------


def _limited(func: Callable[[], Any], clear: Callable[[], Any]) -> Any:
    """What a decorator that limits time does: it puts the handler back, but not the timer."""
    previous = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        return func()
    finally:
        clear()
        signal.signal(signal.SIGALRM, previous)


def _death_penalty(func: Callable[[], Any]) -> Any:
    """What RQ does around a job: the default handler is put back."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.alarm(60)
    try:
        return func()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


ON_THE_CLOCK: dict[str, Callable[[], Any]] = {
    "a decorator with setitimer": lambda: _limited(
        int, lambda: signal.setitimer(signal.ITIMER_REAL, 0)
    ),
    "a decorator with alarm": lambda: _limited(int, lambda: signal.alarm(0)),
    "decorators in one another": lambda: _limited(
        lambda: _limited(int, lambda: signal.alarm(0)), lambda: signal.alarm(0)
    ),
    "a death penalty": lambda: _death_penalty(int),
    "an alarm that is cleared": lambda: signal.alarm(0),
    "a handler that stays": lambda: signal.signal(signal.SIGALRM, lambda *_: None),
    "a signal that is ignored": lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
    "a signal that is blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]),
}


@pytest.fixture
def _clock_is_put_back() -> Iterator[None]:
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])


@pytest.mark.usefixtures("_clock_is_put_back")
@pytest.mark.parametrize("use", ON_THE_CLOCK.values(), ids=ON_THE_CLOCK)
def test_a_hang_ends_whatever_the_code_does_with_the_clock(use: Callable[[], Any]) -> None:
    async def body() -> None:
        use()
        await asyncio.Event().wait()

    assert "waits for an Event" in only_hang(run(body)).message


@pytest.mark.usefixtures("_clock_is_put_back")
def test_the_codes_own_limit_strikes_as_it_would_without_us() -> None:
    class TooLongError(Exception): ...

    def strike(*_: Any) -> None:
        raise TooLongError

    def body() -> None:
        assert signal.signal(signal.SIGALRM, strike) is signal.SIG_DFL
        assert signal.setitimer(signal.ITIMER_REAL, 0.05) == (0.0, 0.0)
        time.sleep(60)

    report = pytest_loopsafe.run(body, loops=1, timeout=30, check=False)
    assert [type(error) for error in report.results] == [TooLongError]
    assert not report.findings


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_ring_that_is_lost_is_followed_by_another() -> None:
    """An exception that a handler raises is swallowed where nobody can catch it, in a finalizer."""
    swallowed: list[str] = []

    class Leftover:
        def __del__(self) -> None:
            swallowed.append("once more")
            time.sleep(60)

    def body() -> None:
        for _ in range(3):
            Leftover()

    assert only_hang(run(body))
    assert len(swallowed) == 3


@pytest.mark.filterwarnings(  # a coroutine that was made, and struck before it was awaited
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine:RuntimeWarning"
)
@pytest.mark.parametrize("in_main_thread", [True, False])
def test_a_livelock_that_never_gives_way_is_reported_every_time(in_main_thread: bool) -> None:
    """Wherever the alarm finds the thread, be it between two lines of ours: nothing waits there."""
    found: list[list[str]] = []

    async def body() -> None:
        ready = asyncio.Event()
        ready.set()
        while True:
            await ready.wait()

    def runs() -> None:
        for number in range(3):
            report = pytest_loopsafe.run(body, loops=1, timeout=BRIEF + number / 1000, check=False)
            found.append([finding.code for finding in report.findings])

    if in_main_thread:
        runs()
    else:
        thread = threading.Thread(target=runs)
        thread.start()
        thread.join()
    assert found == [["LS106"]] * 3


@pytest.mark.parametrize("in_main_thread", [True, False])
@pytest.mark.parametrize(("lines_of_ours", "ends_in"), [("dog._spared < 1", "code"), ("1", "hook")])
def test_a_thread_is_given_the_time_to_leave_a_line_of_ours(
    in_main_thread: bool, lines_of_ours: str, ends_in: str
) -> None:
    """Where it never does, it is ended all the same."""
    scope: dict[str, Any] = {}
    hook = f"def hook(dog):\n    while {lines_of_ours}:\n        pass\n"
    exec(compile(hook, pytest_loopsafe.__file__, "exec"), scope)
    ended_in: list[str] = []

    def code(dog: Watchdog) -> None:
        scope["hook"](dog)
        while True:
            pass

    def one_pass() -> None:
        dog = Watchdog(BRIEF, lambda loop, frame: None, print)
        try:
            with dog.watching():
                code(dog)
        except PassAborted as error:
            names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
            ended_in.append([name for name in names if name in ("code", "hook")][-1])

    if in_main_thread:
        one_pass()
    else:
        thread = threading.Thread(target=one_pass)
        thread.start()
        thread.join()
    assert ended_in == [ends_in]


class _Held:
    """A lock that the interrupted code may hold, and that its own thread must not ask for."""

    def __init__(self) -> None:
        self.asked = 0

    def __enter__(self) -> None:
        self.asked += 1

    def __exit__(self, *_: object) -> None: ...


def test_what_the_alarm_notes_takes_no_lock() -> None:
    loop = asyncio.new_event_loop()
    lock = asyncio.Lock()

    async def waits() -> None:
        async with lock:
            await lock.acquire()

    watching = Watch()
    held = watching.loops._lock = _Held()  # type: ignore[assignment]
    task = loop.create_task(waits())
    loop.run_until_complete(asyncio.sleep(0))
    noted = PassTimedOut.noted(1, BRIEF, loop, sys._getframe())
    assert [one.name for one in noted.tasks] == ["a Lock"]
    assert not held.asked
    task.cancel()
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


def test_a_last_word_that_gets_stuck_does_not_keep_the_process(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        app="""
        import threading, time
        from pytest_loopsafe._run import watchdog

        watchdog._TO_CLEAN_UP = 0.1
        dog = watchdog.Watchdog(0.05, lambda *_: None, lambda text: threading.Event().wait())
        with dog.watching():
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        """
    )
    assert pytester.run(sys.executable, "app.py", timeout=30).ret == 1


@pytest.mark.parametrize("clock", ["alarm", "thread", "thread, of another"])
def test_nothing_is_ended_that_comes_after_a_pass(
    clock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is up, again and again, at about the moment at which the pass ends."""
    late: list[BaseException] = []
    expired: list[bool] = []

    def race() -> None:
        dog = Watchdog(0.002, lambda loop, frame: None, lambda text: None)
        for number in range(400):
            with suppress(PassAborted), dog.watching():
                time.sleep(0.0018 + number % 20 * 0.00002)
            expired.append(dog.expired)
            try:
                for _ in range(2000):
                    len(expired)
            except PassAborted as error:
                late.append(error)

    def guarded() -> None:
        try:
            race()
        except PassAborted as error:  # out of the end of a pass, not to be suppressed around it
            late.append(error)

    if clock != "alarm":
        monkeypatch.setattr(alarm, "_free_signal", lambda: None)
    if clock == "thread, of another":
        thread = threading.Thread(target=guarded)
        thread.start()
        thread.join()
    else:
        guarded()
    assert not late
    assert len(expired) == 400
    assert True in expired
    assert "loopsafe-watchdog" not in [thread.name for thread in threading.enumerate()]
    assert not [number for number in ALARMS if signal.getsignal(number) is not signal.SIG_DFL]


def test_what_is_sent_to_a_pass_that_has_just_ended_is_withdrawn() -> None:
    reporting = threading.Event()
    got_away: list[bool] = []

    def report(*_: Any) -> None:
        reporting.set()
        time.sleep(0.2)  # meanwhile the block ends: what comes now comes too late

    def passes() -> None:
        dog = Watchdog(0.05, report, lambda text: None)
        with dog.watching():
            reporting.wait()
        got_away.append(dog.expired)

    thread = threading.Thread(target=passes)
    thread.start()
    thread.join()
    assert got_away == [True]


@pytest.mark.parametrize("tool", ["settrace", "setprofile"])
@pytest.mark.parametrize(("timeout", "passes"), [(30.0, 2), (0.05, 1)])
def test_a_pass_that_a_thread_has_timed_does_not_stop_a_tracer(
    tool: str, timeout: float, passes: int
) -> None:
    """CPython 3.11 never came out of a traced function once an exception had been taken back."""
    script = f"""
        import sys, time
        import pytest_loopsafe

        def main_thread_is_traced(*_):
            return None

        def body():
            time.sleep(0.1)

        sys.{tool}(main_thread_is_traced)
        report = pytest_loopsafe.run(
            body, loops=2, schedule="threads", timeout={timeout}, check=False
        )
        print(len(report.passes))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30
    )
    assert (done.stdout, done.stderr) == (f"{passes}\n", "")


def test_judging_a_pass_that_had_little_time_is_not_cut_short() -> None:
    ended: list[str] = []
    dog = Watchdog(0.1, lambda loop, frame: None, lambda text: None)
    with suppress(PassAborted), dog.watching():
        time.sleep(10)
    with dog.cleaning_up():
        time.sleep(0.5)
        ended.append("judged")
    assert ended == ["judged"]
    assert dog.expired


def test_what_swallows_even_its_own_end_is_told_and_does_not_run_for_ever(
    pytester: pytest.Pytester,
) -> None:
    """Its coroutine is collected after the pass, and may go round in circles with no loop to stop.

    Whether one exception more frees it is luck; where not, the process ends with a last word.
    """
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.multi_loop(timeout=0.3)
        async def test_it():
            while True:
                try:
                    await asyncio.sleep(0.01)
                except BaseException:
                    pass
        """
    )
    result = pytester.runpytest_subprocess(timeout=60)
    assert result.ret == 1
    assert "LS106 loop-hang" in result.stdout.str() + result.stderr.str()
