"""Running the same code over several loops, watched."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from types import FrameType, MappingProxyType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._adapters import Adapters
from pytest_loopsafe._graph.roots import parts_of
from pytest_loopsafe._report.report import Contents, LoopReport, PassOutcome
from pytest_loopsafe._rules.ls106 import PassTimedOut
from pytest_loopsafe._run import schedules
from pytest_loopsafe._run.forking import ForkedPasses, require_fork
from pytest_loopsafe._run.last_words import exit_guarded, to_stderr
from pytest_loopsafe._run.parcels import ChildPass
from pytest_loopsafe._run.tracebacks import hide_scaffolding, release_locals
from pytest_loopsafe._run.watchdog import PassAborted, Watchdog
from pytest_loopsafe._watch.watch import Watch
from pytest_loopsafe._words.settings import Settings, SettingsError

Conduct = Callable[[asyncio.Runner, Callable[[Callable[[], Any]], Any]], Any]


def is_async(func: Callable[..., Any]) -> bool:
    """Whether a call of this gives a coroutine, through partials and ``__call__`` methods too."""
    while isinstance(func, functools.partial):
        func = func.func
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(
        getattr(func, "__call__", None)  # noqa: B004 - the method itself is wanted
    )


class LoopRun:
    """One function run over several loops.

    Args:
        func: async, then each pass is one call in a loop that the schedule provides; or sync,
            then each pass is one call, and the loops that it makes itself are watched.
        settings: how to run it.
        subjects: what else the test names, each with its name: what it holds is looked at.
        adapters: what is known of libraries' clients, beyond the usual.
        advice: what to do about a subject, by its name.
        last_word: called with a text when the process is about to end without a report.
        conduct: makes each pass where there is more to it than one call: given the pass's Runner,
            and what makes the pass's body of a call (several calls of it gathered, say). What that
            returns is a coroutine to run, or of a sync function the value.

    Raises:
        SettingsError: for settings that this function cannot be run with.
    """

    def __init__(
        self,
        func: Callable[[], Any],
        settings: Settings,
        *,
        subjects: Iterable[tuple[Any, str]] = (),
        adapters: Adapters | None = None,
        advice: Mapping[str, str] = MappingProxyType({}),
        last_word: Callable[[str], None] = to_stderr,
        conduct: Conduct | None = None,
    ) -> None:
        self._func = func
        self._conduct = conduct
        self._settings = settings
        self._last_word = last_word
        self._async = is_async(func)
        if not self._async and settings.concurrency > 1:
            raise SettingsError(
                f"concurrency={settings.concurrency} is not allowed for a function that is not "
                "async: its calls cannot be gathered in one loop"
            )
        if not self._async and settings.loop_factory is not None:
            raise SettingsError(
                f"loop_factory={settings.loop_factory!r} is not allowed for a function that is "
                "not async: it makes its own loops"
            )
        self._watch = Watch(
            strict=settings.strict,
            ignore=settings.ignore,
            subjects=(*parts_of(func), *subjects),
            adapters=adapters,
            advice=advice,
        )
        self.loops = self._watch.loops
        self._late: list[PassTimedOut] = []
        self._forks: ForkedPasses | None = None
        if settings.schedule == "fork":
            require_fork()
            self._forks = ForkedPasses(
                self._watch,
                settings.timeout,
                parallel=settings.concurrency > 1,
                end_pass=self._end_pass,
            )
        self._outcomes: list[PassOutcome] = []
        self._schedule_notes: Callable[[], tuple[str, ...]] = tuple
        self.on_round: Callable[[int, int], object] = lambda number, total: None
        self.report = LoopReport(self._contents)

    def execute(self) -> LoopReport:
        """Run all passes and return the report; nothing that the code raises is raised here.

        Raises:
            RuntimeError: when called from inside a running loop.
            BlindError: when the detectors cannot see on this interpreter.
            LoopFactoryError: when the loop factory returns no fresh loop.
            BaseException: KeyboardInterrupt, SystemExit and pytest's outcomes end the run at
                once; what was found until then is in `report`.
        """
        if _cpython.get_running_loop() is not None:
            raise RuntimeError(
                "pytest-loopsafe makes its own loops and cannot do so inside a running one: call "
                "it from sync code (a plain `def` test)"
            )
        outcomes, settings = self._outcomes, self._settings
        own_loops = self._async or self._conduct is not None
        schedule = schedules.make(settings, own_loops=own_loops)
        self._schedule_notes = schedule.notes
        dogs = functools.partial(self._watchdog, self._final_word)
        dog = dogs(0)
        try:
            with ExitStack() as stack:
                patches = stack.enter_context(self._watch.armed())
                stack.enter_context(exit_guarded(self._exits))
                held = stack.enter_context(ExitStack())
                held.enter_context(schedule.running(patches))
                for numbers in schedule.rounds(settings.loops):
                    self.on_round(numbers[0], settings.loops)
                    if self._forks is not None:
                        (number,) = numbers
                        body = functools.partial(self._pass_in_child, number, schedule)
                        outcomes.append(self._forks.run(number, body))
                        dog.expired = self._forks.expired
                    else:
                        outcomes += self._round(numbers, schedule, dog, dogs)
                    if dog.expired:
                        break  # another pass would most likely hang as long again
                self._let_go(held, dog)
                with dog.cleaning_up():
                    self._watch.end_run()
        finally:
            self.on_round(settings.loops + 1, settings.loops)
            if self._forks is not None:
                self._forks.finish()
            self.report.close()
        return self.report

    @property
    def loops_used(self) -> int:
        """How many loops there were, those of forked children too."""
        reader = self._watch.children.reader
        return self.loops.used() + (len(reader.loops()) if reader is not None else 0)

    def _contents(self) -> Contents:
        seen = self._watch.contents(schedule=self._settings.schedule)
        forked = self._forks.loops() if self._forks is not None else ()
        notes = self._forks.notes() if self._forks is not None else ()
        return replace(
            seen,
            loops=(*seen.loops, *forked),
            passes=tuple(self._outcomes),
            notes=(*self._schedule_notes(), *notes, *seen.notes),
        )

    def _pass_in_child(self, number: int, schedule: schedules.Schedule) -> ChildPass:
        """A pass that is the only one of its process."""
        dogs = functools.partial(self._watchdog, self._childs_last_word)
        dog = dogs(number)
        try:
            (outcome,), ends_run = self._round([number], schedule, dog, dogs), False
        except BaseException as error:  # noqa: BLE001 - the parent raises it as itself
            hide_scaffolding(error)
            outcome, ends_run = PassOutcome(number, error=error), True
        with dog.cleaning_up():
            self._watch.end_run()
        return ChildPass(outcome, dog.expired, ends_run)

    def _watchdog(self, last_word: Callable[[str], None], number: int) -> Watchdog:
        """One for a pass, and for the thread that this is called in."""
        timed_out = functools.partial(self._timed_out, number)
        dog = Watchdog(self._settings.timeout, timed_out, last_word)
        dog.running_loops = functools.partial(  # type: ignore[method-assign]
            self._running_loops, threading.current_thread().name
        )
        return dog

    def _round(
        self,
        numbers: Sequence[int],
        schedule: schedules.Schedule,
        dog: Watchdog,
        dogs: Callable[[int], Watchdog],
    ) -> list[PassOutcome]:
        """Passes that run at the same time, mostly one alone; judged when all of them have ended.

        Raises:
            BaseException: what ends the run, the first pass's first.
        """
        ended: list[_Ended] = []
        try:
            ended += schedule.perform(
                [functools.partial(self._pass, number, schedule, dogs) for number in numbers],
                self._cancel_all,
            )
            for one in ended:
                if one.ends_run is not None:
                    raise one.ends_run
            return [one.outcome for one in ended]
        finally:
            dog.expired = any(one.expired for one in ended)
            errors = [error for one in ended for error in one.errors]
            with dog.cleaning_up():
                self._judge_hang()
                goes_on = all(one.ends_run is None for one in ended)
                if numbers[-1] < self._settings.loops and goes_on:
                    for raised in errors:
                        release_locals(raised)
                    schedule.between()  # first: what is judged below takes memory
                self._watch.end_pass(*errors)

    def _pass(
        self, number: int, schedule: schedules.Schedule, dogs: Callable[[int], Watchdog]
    ) -> _Ended:
        """One pass, in the thread that is to have it; nothing is raised."""
        self._watch.begin_pass(number)
        dog = dogs(number)
        errors: tuple[BaseException, ...] = ()
        try:
            limit = functools.partial(_limited, dog)
            if self._conduct is not None:
                conduct = self._conduct
                value = schedule.run(lambda runner: conduct(runner, self._body), limit)
            elif self._async:
                value = schedule.run(self._alone, limit)
            else:
                value = schedule.call(functools.partial(self._body, self._func), limit)
            if self._settings.concurrency > 1:
                errors = tuple(one for one in value if isinstance(one, BaseException))
            outcome = PassOutcome(number, value, errors[0] if errors else None)
        except BaseException as error:  # noqa: BLE001 - raised again once the pass is judged
            errors = (error,)
            outcome = PassOutcome(number, error=error)
            if isinstance(error, schedules.LoopFactoryError) or not isinstance(
                error, Exception | asyncio.CancelledError | PassAborted
            ):
                return _Ended(outcome, errors, dog.expired, error)
            hide_scaffolding(error)
        if dog.expired:
            outcome = PassOutcome(number, error=self._too_late(number))
        return _Ended(outcome, errors, dog.expired)

    def _let_go(self, held: ExitStack, dog: Watchdog) -> None:
        """End what the schedule held for all passes; a loop's end can hang like a pass."""
        expired = dog.expired
        try:
            with dog.watching():
                held.close()
        except (Exception, PassAborted):
            if not dog.expired:
                raise
        finally:
            dog.expired |= expired
            self._judge_hang()

    def _alone(self, runner: asyncio.Runner) -> Any:
        runner.get_loop()  # first: where there is none, no coroutine is to be left behind
        return runner.run(self._body(self._func))

    def _body(self, call: Callable[[], Any]) -> Any:
        if not self._async:
            return _no_coroutine(call())
        if self._settings.concurrency == 1:
            return call()
        return self._gathered(call)

    async def _gathered(self, call: Callable[[], Any]) -> list[Any]:
        calls = (call() for _ in range(self._settings.concurrency))
        return await asyncio.gather(*calls, return_exceptions=True)

    def _too_late(self, number: int) -> TimeoutError:
        return TimeoutError(f"pass {number} did not finish in {self._settings.timeout:g} s")

    def _timed_out(
        self, number: int, loop: asyncio.AbstractEventLoop | None, frame: FrameType | None
    ) -> None:
        self._late.append(PassTimedOut.noted(number, self._settings.timeout, loop, frame))

    def _judge_hang(self) -> None:
        """Judge what was noted when the time was up, now that the pass rests or nothing does."""
        late, self._late = self._late, []
        for one in late:
            self.loops.begin_pass(one.number)  # of this thread, for as long as that is judged
            self._watch.observe(one)

    def _end_pass(self, *errors: BaseException) -> None:
        self._judge_hang()
        self._watch.end_pass(*errors)

    def _running_loops(self, thread: str) -> list[asyncio.AbstractEventLoop]:
        """The loops that run now, the thread's own first: not every loop tells who runs it."""
        running = [loop for loop in self.loops.alive() if loop.is_running()]
        return sorted(running, key=lambda loop: self.loops.of(loop).thread != thread)

    def _cancel_all(self) -> None:
        """Hasten the end of passes in other threads, as Ctrl-C does for ``asyncio.run()``."""
        for loop in self._running_loops(""):
            with suppress(RuntimeError):  # closed in this very moment
                loop.call_soon_threadsafe(_cancel_tasks_of, loop)

    def _final_word(self, text: str) -> None:
        self._end_pass()
        self._last_word(f"{self.report}\n{text}")

    def _childs_last_word(self, text: str) -> None:
        self._judge_hang()
        to_stderr(text)

    def _exits(self, status: int) -> None:
        self._final_word(
            f"pytest-loopsafe: the code under test called os._exit({status!r}) in pass "
            f"{self.loops.pass_number}; the process ends here."
        )


@dataclass(frozen=True)
class _Ended:
    """A pass that has ended, and is not yet judged.

    Attributes:
        outcome: how it ended.
        errors: what left it, and each of its calls.
        expired: whether its time was up.
        ends_run: what is to end the whole run: KeyboardInterrupt, one of pytest's outcomes.
    """

    outcome: PassOutcome
    errors: tuple[BaseException, ...]
    expired: bool
    ends_run: BaseException | None = None


@contextmanager
def _limited(dog: Watchdog) -> Iterator[None]:
    """Limit one of several stretches of a pass: it is out of time where one of them was."""
    expired = dog.expired
    try:
        with dog.watching():
            yield
    finally:
        dog.expired |= expired


def _cancel_tasks_of(loop: asyncio.AbstractEventLoop) -> None:
    for task in _cpython.all_tasks(loop):
        task.cancel()


def _no_coroutine(value: Any) -> Any:
    """A sync function that returns a coroutine has run nothing, and must not pass for safe.

    Raises:
        TypeError: it has.
    """
    if inspect.iscoroutine(value):
        value.close()
    elif not inspect.isasyncgen(value):
        return value
    raise TypeError(
        f"the function returned the coroutine {value.__qualname__}() and did not run it: make "
        "it `async def`, or have its decorator keep it one (inspect.markcoroutinefunction)"
    )
