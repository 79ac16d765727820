"""Running the same code over several loops, watched."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._adapters import Adapters
from pytest_loopsafe._graph.view import parts_of
from pytest_loopsafe._report.report import Contents, LoopReport, PassOutcome
from pytest_loopsafe._rules.ls106 import PassTimedOut
from pytest_loopsafe._run import schedules
from pytest_loopsafe._run.forking import ForkedPasses, require_fork
from pytest_loopsafe._run.last_words import exit_guarded, to_stderr
from pytest_loopsafe._run.parcels import ChildPass
from pytest_loopsafe._run.watchdog import PassAborted, Watchdog
from pytest_loopsafe._watch.watch import Watch
from pytest_loopsafe._words.findings import error_chain
from pytest_loopsafe._words.settings import Settings, SettingsError
from pytest_loopsafe._words.stacks import is_own


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
        last_word: called with a text when the process is about to end without a report.

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
        last_word: Callable[[str], None] = to_stderr,
    ) -> None:
        self._func = func
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
        )
        self.loops = self._watch.loops
        self._late: PassTimedOut | None = None
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
        schedule = schedules.make(settings, own_loops=self._async)
        self._schedule_notes = schedule.notes
        dog = self._watchdog(self._final_word)
        try:
            with ExitStack() as stack:
                patches = stack.enter_context(self._watch.armed())
                stack.enter_context(exit_guarded(self._exits))
                held = stack.enter_context(ExitStack())
                held.enter_context(schedule.running(patches))
                for number in range(1, settings.loops + 1):
                    if self._forks is not None:
                        body = functools.partial(self._pass_in_child, number, schedule)
                        outcomes.append(self._forks.run(number, body))
                        dog.expired = self._forks.expired
                    else:
                        outcomes.append(self._pass(number, schedule, dog))
                    if dog.expired:
                        break  # another pass would most likely hang as long again
                self._let_go(held, dog)
                self._watch.end_run()
        finally:
            if self._forks is not None:
                self._forks.finish()
            self.report.close()
        return self.report

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
        dog = self._watchdog(self._childs_last_word)
        try:
            outcome, ends_run = self._pass(number, schedule, dog), False
        except BaseException as error:  # noqa: BLE001 - the parent raises it as itself
            _hide_scaffolding(error)
            outcome, ends_run = PassOutcome(number, error=error), True
        self._watch.end_run()
        return ChildPass(outcome, dog.expired, ends_run)

    def _watchdog(self, last_word: Callable[[str], None]) -> Watchdog:
        dog = Watchdog(self._settings.timeout, self._timed_out, last_word)
        dog.running_loops = self._running_loops  # type: ignore[method-assign]
        return dog

    def _pass(self, number: int, schedule: schedules.Schedule, dog: Watchdog) -> PassOutcome:
        self._number = number
        self._watch.begin_pass(number)
        errors: tuple[BaseException, ...] = ()
        try:
            with dog.watching():
                value = schedule.run(self._coroutine) if self._async else self._func()
            if not self._async:
                _refuse_coroutine(value)
            if self._settings.concurrency > 1:
                errors = tuple(one for one in value if isinstance(one, BaseException))
            if dog.expired:
                return PassOutcome(number, error=self._too_late(number))
            return PassOutcome(number, value, errors[0] if errors else None)
        except (Exception, asyncio.CancelledError, PassAborted) as error:
            if isinstance(error, schedules.LoopFactoryError):
                raise
            errors = (error,)
            _hide_scaffolding(error)
            if dog.expired:
                return PassOutcome(number, error=self._too_late(number))
            return PassOutcome(number, error=error)
        except BaseException as error:
            errors = (error,)
            raise
        finally:
            with dog.cleaning_up():
                self._judge_hang()
                if number < self._settings.loops:
                    for raised in errors:
                        _release_locals(raised)
                    schedule.between()  # first: what is judged below takes memory
                self._watch.end_pass(*errors)

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

    def _coroutine(self) -> Any:
        if self._settings.concurrency == 1:
            return self._func()
        return self._gathered()

    async def _gathered(self) -> list[Any]:
        calls = (self._func() for _ in range(self._settings.concurrency))
        return await asyncio.gather(*calls, return_exceptions=True)

    def _too_late(self, number: int) -> TimeoutError:
        return TimeoutError(f"pass {number} did not finish in {self._settings.timeout:g} s")

    def _timed_out(self, loop: asyncio.AbstractEventLoop | None, frame: FrameType | None) -> None:
        self._late = PassTimedOut.noted(self._number, self._settings.timeout, loop, frame)

    def _judge_hang(self) -> None:
        """Judge what was noted when the time was up, now that the pass rests or nothing does."""
        late, self._late = self._late, None
        if late is not None:
            self._watch.observe(late)

    def _end_pass(self, *errors: BaseException) -> None:
        self._judge_hang()
        self._watch.end_pass(*errors)

    def _running_loops(self) -> list[asyncio.AbstractEventLoop]:
        return [loop for loop in self._watch.loops.alive() if loop.is_running()]

    def _final_word(self, text: str) -> None:
        self._end_pass()
        self._last_word(f"{self.report}\n{text}")

    def _childs_last_word(self, text: str) -> None:
        self._judge_hang()
        to_stderr(text)

    def _exits(self, status: int) -> None:
        self._final_word(
            f"pytest-loopsafe: the code under test called os._exit({status!r}) in pass "
            f"{self._number}; the process ends here."
        )


def _refuse_coroutine(value: object) -> None:
    """A sync function that returns a coroutine has run nothing, and must not pass for safe."""
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError(
            f"the function returned the coroutine {value.__qualname__}() and did not run it: make "
            "it `async def`, or have its decorator keep it one (inspect.markcoroutinefunction)"
        )


def _hide_scaffolding(error: BaseException) -> None:
    """Cut our frames and asyncio's off the head of a traceback: it then begins with the code."""
    trace = error.__traceback__
    while trace is not None and _is_scaffolding(trace.tb_frame):
        trace = trace.tb_next
    if trace is not None:
        error.__traceback__ = trace


def _is_scaffolding(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return is_own(file) or file.startswith(os.path.dirname(asyncio.__file__))


def _release_locals(error: BaseException) -> None:
    """Clear the finished frames of an error that is kept while another pass runs.

    Their locals hold clients and loops of the pass that ended. In production nobody keeps them,
    and a loop kept alive cannot give its ``id()`` to the next one.
    """
    chains: list[list[FrameType]] = []
    for link in error_chain(error):
        trace = link.__traceback__
        while trace is not None:
            # And the frames that called it, which no traceback lists: run_until_complete's, the
            # loop's own.
            frame: FrameType | None = trace.tb_frame
            chains.append([])
            while frame is not None:
                chains[-1].append(frame)
                frame = frame.f_back
            trace = trace.tb_next
    alive = _suspended({frame for chain in chains for frame in chain})
    for chain in chains:
        for frame in chain:
            if frame in alive:
                continue
            try:
                frame.clear()
            except RuntimeError:  # it still runs, and so does all that called it
                break


def _suspended(frames: set[FrameType]) -> set[FrameType]:
    """Those of coroutines and generators that have caught the error, and live on.

    From 3.13 on ``clear()`` refuses them. Before that it ends them, with GeneratorExit.
    """
    flags = CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR
    candidates = [frame for frame in frames if frame.f_code.co_flags & flags]
    if sys.version_info >= (3, 13) or not candidates:
        return set()
    return {
        frame
        for one in gc.get_referrers(*candidates)
        if isinstance(one, CoroutineType | GeneratorType | AsyncGeneratorType)
        for frame in candidates
        if frame in (getattr(one, f"{prefix}_frame", None) for prefix in ("cr", "gi", "ag"))
    }
