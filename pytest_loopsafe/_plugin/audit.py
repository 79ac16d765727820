"""Watches every test as it stands, for an audit."""

from __future__ import annotations

import functools
import sys
from collections.abc import Generator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_loopsafe._plugin import declared, marker, pytest_inside
from pytest_loopsafe._plugin.makers import Makers
from pytest_loopsafe._plugin.session import LoopsafeSession, Told
from pytest_loopsafe._plugin.whole_runs import WholeRuns
from pytest_loopsafe._words.settings import Settings

if TYPE_CHECKING:
    from pytest_loopsafe._plugin.windows import Window

_RUNNERS = frozenset({"loopsafe_runner", "loopsafe_celery"})
_FOR_THE_CODE = ("LS1", "LS2")
"""Rules about what one loop does to another's objects; the others are about what is left."""


class Audit:
    """Watches each test from its first setup to its last teardown, and runs it over loops.

    Args:
        session: keeps what was found.
        loops: how often to run a test that makes a loop of its own; 0 and 1 for once.
    """

    def __init__(self, session: LoopsafeSession, loops: int) -> None:
        self._session = session
        self._loops = loops
        self._runs = WholeRuns()
        self.makers = Makers()
        self._item: pytest.Item | None = None
        self._calls = False
        self._subtest_failed = False
        self._window: Window | None = None  # of the test that is under watch
        self._latest: Window | None = None
        self._known_settings: dict[tuple[str, ...], Settings] = {}

    # -- the session -----------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """In an audit each test is watched: patch asyncio once, and not for each."""
        from pytest_loopsafe._run.last_words import exit_guarded
        from pytest_loopsafe._watch.canary import BlindError
        from pytest_loopsafe._watch.watch import standing_by

        with ExitStack() as stack:
            stack.enter_context(exit_guarded(self._exits))
            with suppress(BlindError):  # each test will say so
                stack.enter_context(standing_by())
            return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)  # before pytest-xdist's worker sends what it has
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Watch what ends only here: the fixtures of a session that was broken off."""
        item = self._item
        if item is None or (self._window is None and not self.makers.goes_on):
            return (yield)
        window = self._window or self._opened(item)
        try:
            return (yield)
        finally:
            self._end(window)
            self._session.tell_late(item)

    # -- a test ------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Watch from here on."""
        if self._runs.under_way:
            return (yield)
        self._item = item
        self._session.began(item)
        self._runs.begin(item)
        window = self._opened(item)
        try:
            return (yield)
        except BaseException as error:
            self._ended_early(error, item, window)
            raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Judge what was found; run the test over loops, where it makes one itself."""
        __tracebackhide__ = True
        window = self._window
        if self._runs.under_way or window is None:
            return (yield)
        own = _runs_itself(item)
        if own is not None:  # what it runs is judged as the test wants it
            self._end(window)
            self._note(item, own)
            try:
                result = yield
            finally:
                self._opened(item)
            return self._passed(window, result)
        self._calls, self._subtest_failed = True, False
        try:
            result = yield
        except BaseException as error:
            self._ended_early(error, item, window)
            raise
        kept = pytest_inside.recorded(item)
        if kept:
            self._ended_early(kept[0], item, window)
            return result
        self._run_over_loops(item, window)
        return self._passed(window, result)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Judge what the ends of fixtures add."""
        __tracebackhide__ = True
        window = self._window
        if self._runs.under_way or window is None:
            return (yield)
        self._calls = False
        try:
            result = yield
            self._runs.settle()
        except BaseException as error:
            self._end(window, error)
            raise
        self._end(window)
        return self._passed(window, result)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Of a test that is being run again the subtests were told before.

        One that fails only then is judged as its test would be.
        """
        report = yield
        if self._calls and report.failed:
            self._subtest_failed = True
            if self._runs.under_way and not self._is_about_loops():
                report.outcome, report.longrepr = "passed", None
        if self._runs.under_way and report.passed:
            report.loopsafe_again = True  # type: ignore[attr-defined]
        return report

    # -- its parts ---------------------------------------------------------------------------

    def _opened(self, item: pytest.Item) -> Window:
        from pytest_loopsafe._plugin.windows import Window
        from pytest_loopsafe._watch.watch import Watch

        base = self._settings_of(item)
        watch = Watch(
            strict=base.strict,
            ignore=base.ignore,
            adapters=self._session.adapters(),
            after=self._latest.watch if self._latest is not None else None,
        )
        watch.loops.maker = self.makers.now
        watch.loops.test = self.makers.begin(item).name
        schedule = None
        if self._loops > 1:
            from pytest_loopsafe._run import schedules  # only when it is used

            wanted = replace(base, loops=self._loops, schedule="consecutive")
            schedule = schedules.make(wanted, own_loops=True)
        window = Window(watch, item.nodeid, schedule)
        window.open()
        self._session.started(item, Told(window.report))
        self._window = self._latest = window
        return window

    def _settings_of(self, item: pytest.Item) -> Settings:
        """What the ini file says: the same for most tests, so checked once for all of these."""
        given = marker.defaults(item.config, item)
        key = tuple(given.get("ignore", ()))
        if key not in self._known_settings:
            self._known_settings[key] = Settings.checked(**given)
        return self._known_settings[key]

    def _end(self, window: Window, *errors: BaseException) -> None:
        self.makers.end()
        try:
            window.judge(*errors)
        finally:
            window.close()
            self._window = None

    @staticmethod
    def _passed(window: Window, result: object) -> object:
        """Fail a test that would pass for what was found in it.

        Raises:
            LoopSafetyError: there is something.
        """
        __tracebackhide__ = True
        unsafe = window.new_errors()
        if unsafe is not None:
            raise unsafe
        return result

    def _ended_early(self, error: BaseException, item: pytest.Item, window: Window) -> None:
        """Judge a test that did not pass, and fail it where it would not fail either.

        Raises:
            LoopSafetyError: it was skipped.
            pytest.xfail.Exception: it was to fail.
        """
        __tracebackhide__ = True
        self._note(item, _how_it_ended(error))
        window.judge(error)
        unsafe = window.new_errors()
        if unsafe is None:
            return
        if _is_skip(error):
            pytest_inside.forget_recorded(item)
            raise unsafe from None
        if isinstance(error, pytest.fail.Exception) and pytest_inside.expects_failure(item):
            pytest_inside.forget_recorded(item)
            pytest.xfail("; ".join(one.message for one in unsafe.report.errors))

    def _run_over_loops(self, item: pytest.Item, window: Window) -> None:
        """Run a test again that has passed, and judge all its runs.

        Raises:
            BaseException: what failed a run, where something was found that may be its cause. Where
                nothing was, the test is one that cannot be run twice; it has passed, and that it
                did not run over loops is said.
        """
        __tracebackhide__ = True
        runs, failure = 1, None
        reason = self._why_not(item, window)
        while reason is None and runs < self._loops:
            failure = self._runs.again(item, functools.partial(window.next_run, runs + 1))
            if self._runs.is_broken:
                reason = "its teardown failed"
            elif failure is None and self._subtest_failed:
                reason = "failed when it was run again"
            elif failure is not None:
                reason = f"{_how_it_ended(failure)} when it was run again"
                if not _is_skip(failure):
                    reason += f": {type(failure).__name__}"
            else:
                runs += 1
        window.judge(*filter(None, (failure,)))
        self._note(item, reason, runs)
        if failure is not None:
            if self._is_about_loops() and not _is_skip(failure):
                failure.add_note(f"loopsafe: in run {runs + 1} of {self._loops} of this test")
                window.new_errors()  # told beside it
                if not pytest_inside.recorded(item):
                    raise failure
            else:
                pytest_inside.forget_recorded(item)

    def _is_about_loops(self) -> bool:
        """Whether anything was found that may be why a test fails where it is run again."""
        found = self._window.report.findings if self._window is not None else ()
        return any(one.code.startswith(_FOR_THE_CODE) for one in found)

    def _note(self, item: pytest.Item, why_not: str | None, runs: int = 1) -> None:
        """Note for the count at the end how often a test was run, and why not more often."""
        self._session.note(item, {"runs": runs, "not_over_loops": why_not or None})

    def _exits(self, status: int) -> None:
        item, window = self._item, self._window
        if item is None or window is None:
            return  # nothing is under watch
        with suppress(Exception):  # then what was found before is what there is
            window.watch.end_pass()
        self._session.last_word(
            f"{window.report}\npytest-loopsafe: {item.nodeid} called os._exit({status!r}); the "
            "process ends here."
        )

    def _why_not(self, item: pytest.Item, window: Window) -> str | None:
        """Why a test is not run over loops; None for one that is, or where nobody wants it."""
        if self._loops < 2:
            return ""
        if self._subtest_failed:
            return "failed"
        if not isinstance(item, pytest.Function):
            return f"is a {type(item).__name__}"
        if _is_for_trio(item):
            return "runs under trio"
        loops = window.watch.loops
        if loops.at_work(wide=False):
            return None
        if loops.at_work(wide=True):
            return "runs in a loop that serves other tests, too"
        return "makes no loop"


def _runs_itself(item: pytest.Item) -> str | None:
    """How a test runs over loops without an audit, if it does."""
    if isinstance(item, pytest.Function) and item.get_closest_marker(declared.NAME) is not None:
        return f"runs as its {declared.NAME} marker says"
    used = _RUNNERS.intersection(getattr(item, "fixturenames", ()))
    return f"runs what it gives to {min(used)}" if used else None


def _is_for_trio(item: pytest.Item) -> bool:
    """Whether anyio's or trio's plugin runs a test without asyncio; asked once it is set up."""
    backend = getattr(item, "funcargs", {}).get("anyio_backend")
    name = backend[0] if type(backend) is tuple and backend else backend
    return name not in (None, "asyncio") or item.get_closest_marker("trio") is not None


def _is_skip(error: BaseException) -> bool:
    unittest = sys.modules.get("unittest")
    skips = (unittest.SkipTest,) if unittest is not None else ()
    return isinstance(error, (pytest.skip.Exception, *skips))


def _how_it_ended(error: BaseException) -> str:
    if _is_skip(error):
        return "was skipped"
    return "was expected to fail" if isinstance(error, pytest.xfail.Exception) else "failed"
