"""The part of the plugin that works while tests run; registered only once a test needs it."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_loopsafe._plugin import json_file, marker, terminal
from pytest_loopsafe._words.settings import Settings

if TYPE_CHECKING:
    from pytest_loopsafe._adapters import Adapters
    from pytest_loopsafe._adapters.base import Adapter
    from pytest_loopsafe._report.report import LoopReport
    from pytest_loopsafe._watch.watch import Watch

_RUNNERS = frozenset({"loopsafe_runner", "loopsafe_celery"})
_RUNS = pytest.StashKey[list[Any]]()
_BODY = pytest.StashKey[Callable[..., Any]]()
_SETTINGS = pytest.StashKey[Settings | None]()


class LoopsafeSession:
    """Runs ``multi_loop`` tests, turns findings into failures, and keeps what was found.

    Args:
        audit: watch every test, as ``--loopsafe`` asks.
        audit_loops: run every async test over so many loops; 0 to leave them as they are.
        last_word: where to write when the process is about to end.
        adapters: the user's own, from the hook ``pytest_loopsafe_adapters``.
    """

    def __init__(
        self,
        *,
        audit: bool,
        audit_loops: int,
        last_word: Callable[[str], None],
        adapters: tuple[Adapter, ...] = (),
    ) -> None:
        self._audit = audit
        self._audit_loops = audit_loops
        self._say = last_word
        self.adapters = adapters
        self._current: pytest.Item | None = None
        self._all_adapters: Adapters | None = None

    def _known(self) -> Adapters:
        """All adapters, looked up once for the session."""
        if self._all_adapters is None:
            from pytest_loopsafe._adapters import Adapters

            self._all_adapters = Adapters(self.adapters)
        return self._all_adapters

    # -- running ---------------------------------------------------------------------------

    def settings_of(self, item: pytest.Item) -> Settings | None:
        """How to run a test over loops; None for a test that runs as it is."""
        if _SETTINGS not in item.stash:
            settings = marker.marked(item)
            over_loops = self._audit_loops and _is_plain_async(item) and not _is_for_trio(item)
            if settings is None and over_loops:
                base = marker.defaults(item.config)
                settings = Settings.checked(**{**base, "loops": self._audit_loops})
            item.stash[_SETTINGS] = settings
        return item.stash[_SETTINGS]

    def started(self, item: pytest.Item, run: Any) -> None:
        """Remember a run before it begins, so that an interruption loses nothing."""
        item.stash.setdefault(_RUNS, []).append(run)
        self._current = item

    def last_word(self, text: str) -> None:
        """Tell all that was found so far: the process is about to end, and nobody else will."""
        item = self._current
        collector = _collector(item) if item is not None else None
        if item is None or collector is None:
            self._say(text)
            return
        collector.take(_as_data(item, "interrupted"))
        collector.write()
        self._say("\n".join((*collector.told(), text)))

    def _exits(self, item: pytest.Item, watch: Watch, report: LoopReport, status: int) -> None:
        with contextlib.suppress(Exception):  # then what was found before is what there is
            watch.end_pass()
        self.last_word(
            f"{report}\npytest-loopsafe: {item.nodeid} called os._exit({status!r}); the process "
            "ends here."
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Refuse async fixtures: they belong to a loop that is none of the test's loops."""
        if item.get_closest_marker(marker.NAME) is None:
            return
        name = async_fixture(item)
        if name is not None:
            pytest.fail(
                f"the async fixture {name!r} cannot be used by a multi_loop test: it would be set "
                "up in one loop and used in others. Make what it gives inside the test, in the "
                "loop that uses it, or make the fixture a plain one.",
                pytrace=False,
            )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Take the test's own function before another plugin wraps it; watch, for an audit."""
        settings = self.settings_of(item)
        if settings is not None and isinstance(item, pytest.Function):
            item.stash[_BODY] = item.obj
            return (yield)
        if not self._audit or not _RUNNERS.isdisjoint(getattr(item, "fixturenames", ())):
            return (yield)  # what the test runs itself is judged as the test wants it
        from pytest_loopsafe._run.last_words import exit_guarded
        from pytest_loopsafe._watch.watch import Watch

        base = Settings.checked(**marker.defaults(item.config))
        watch = Watch(strict=base.strict, ignore=base.ignore, adapters=self._known())
        with watch.as_one_pass() as report:
            self.started(item, _Audited(report))
            with exit_guarded(functools.partial(self._exits, item, watch, report)):
                result = yield
        report.raise_for_errors()
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Run a ``multi_loop`` test; nobody else does, whatever other markers it has."""
        settings = self.settings_of(pyfuncitem)
        if settings is None:
            return None
        __tracebackhide__ = True
        from pytest_loopsafe._run.api import raise_outcome
        from pytest_loopsafe._run.runner import LoopRun
        from pytest_loopsafe._words.settings import SettingsError

        body = pyfuncitem.stash.get(_BODY, pyfuncitem.obj)
        wanted = inspect.signature(body).parameters
        values = {name: value for name, value in pyfuncitem.funcargs.items() if name in wanted}
        try:
            run = LoopRun(
                functools.partial(body, **values),
                settings,
                adapters=self._known(),
                last_word=self.last_word,
            )
            self.started(pyfuncitem, run)
            report = run.execute()
        except SettingsError as error:
            pytest.fail(f"@pytest.mark.{marker.NAME}: {error}", pytrace=False)
        raise_outcome(report)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """In an audit each test is watched: patch asyncio once, and not for each."""
        if not self._audit:
            return (yield)
        from pytest_loopsafe._watch.canary import BlindError
        from pytest_loopsafe._watch.watch import standing_by

        with ExitStack() as stack:
            with suppress(BlindError):  # each test will say so
                stack.enter_context(standing_by())
            return (yield)

    # -- reporting -------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the findings in the place of a traceback, and beside the code's own exception."""
        report = yield
        runs = item.stash.get(_RUNS, [])
        if call.when != "call" or not runs:
            return report
        from pytest_loopsafe._report.rendering import render_report
        from pytest_loopsafe._report.report import LoopSafetyError

        verbose = terminal.verbosity(item.config) > 0
        reports = [run.report for run in runs]
        error = call.excinfo.value if call.excinfo is not None else None
        unsafe = isinstance(error, LoopSafetyError)
        if isinstance(error, LoopSafetyError) and report.failed:
            text = render_report(error.report, verbose=verbose)
            report.longrepr = terminal.UnsafeRepr(text, error.report)  # type: ignore[assignment]
        elif report.failed or not unsafe:
            report.sections += [
                ("loopsafe", render_report(one, verbose=verbose).plain())
                for one in reports
                if one.findings
            ]
        # Plain data under a name of ours travels with the report, from xdist's workers too.
        report.loopsafe = {  # type: ignore[attr-defined]
            **_as_data(item, report.outcome),
            "unsafe": unsafe and report.failed,
        }
        self._current = None
        return report

    def pytest_keyboard_interrupt(self) -> None:
        """Keep what was found in the test that Ctrl-C ended: it gets no report of its own."""
        item = self._current
        if item is None:
            return
        collector = _collector(item)
        if collector is not None:
            collector.take(_as_data(item, "interrupted"))


def _collector(item: pytest.Item) -> LoopsafeCollector | None:
    """Who collects, in this process; a worker of pytest-xdist's has nobody."""
    found = item.config.pluginmanager.getplugin("loopsafe-collector")
    return found if isinstance(found, LoopsafeCollector) else None


def _as_data(item: pytest.Item, outcome: str) -> dict[str, Any]:
    reports = [run.report for run in item.stash.get(_RUNS, [])]
    data: dict[str, Any] = {
        "nodeid": item.nodeid,
        "outcome": outcome,
        "loops": sum(len(one.loops) for one in reports),
        "findings": [finding.to_json() for one in reports for finding in one.findings],
        "notes": [note for one in reports for note in one.notes],
    }
    return json_file.encodable(data)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Audited:
    """One test watched as it stands, in the shape of a run."""

    report: LoopReport


def async_fixture(item: pytest.Item) -> str | None:
    """The name of an async fixture that a test would get, or None."""
    info = getattr(item, "_fixtureinfo", None)  # there is no public way to a fixture's function
    for name, definitions in getattr(info, "name2fixturedefs", {}).items():
        function = definitions[-1].func if definitions else None
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            return str(name)
    return None


def _is_for_trio(item: pytest.Item) -> bool:
    """Whether anyio's or trio's plugin runs a test without asyncio; asked once it is set up."""
    backend = getattr(item, "funcargs", {}).get("anyio_backend")
    name = backend[0] if type(backend) is tuple and backend else backend
    return name not in (None, "asyncio") or item.get_closest_marker("trio") is not None


def _is_plain_async(item: pytest.Item) -> bool:
    return (
        isinstance(item, pytest.Function)
        and inspect.iscoroutinefunction(item.obj)
        and async_fixture(item) is None
    )


class LoopsafeCollector:
    """Collects what the tests' reports carry, in the process that talks to the user.

    Args:
        config: pytest's.
        json_path: the file that the user wants.
        say: where to write when nobody else tells what was found.
    """

    def __init__(
        self, config: pytest.Config, json_path: Path | None, say: Callable[[str], None]
    ) -> None:
        self._config = config
        self._json_path = json_path
        self._say = say
        self._tests: list[dict[str, Any]] = []
        self._written = json_path is None
        self._fault: str | None = None
        self._is_told = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a watched test's findings from its report."""
        found = getattr(report, "loopsafe", None)
        if found is not None:
            self.take(found)

    def take(self, test: dict[str, Any]) -> None:
        """Keep what was found in one test."""
        self._tests.append(test)

    def pytest_report_teststatus(
        self, report: pytest.TestReport | pytest.CollectReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Mark a test that failed only for what was found: ``L``, LOOP UNSAFE."""
        found = getattr(report, "loopsafe", None)
        if found is not None and found["unsafe"]:
            return "failed", "L", ("LOOP UNSAFE", {"red": True})
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The section ``loopsafe report``."""
        self._is_told = True
        terminal.summarize(terminalreporter, self._tests, self._fault)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the JSON file, also when the session was interrupted; before the summary.

        A file that cannot be written makes the exit code 1 where it would be 0, as that of
        ``--junitxml`` does; but here it ends nothing else.
        """
        try:
            return (yield)
        finally:
            self.write()
            if self._fault is not None and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_unconfigure(self) -> None:
        """Tell what nobody has told: a session that breaks at its end has no summary."""
        if self._tests:
            self.write()
        if not self._is_told:
            lines = self.told()
            if lines:
                self._say("\n".join(lines))

    def write(self) -> None:
        """Write the JSON file, once."""
        if self._json_path is None or self._written:
            return
        self._written = True
        tests = [
            {key: value for key, value in test.items() if key != "unsafe"} for test in self._tests
        ]
        fault = json_file.write(self._json_path, tests)
        if fault is not None:
            self._fault = f"--loopsafe-json={self._json_path}: not written: {fault}"

    def told(self) -> list[str]:
        """What was found so far, in lines; without a terminal only what is wrong with the file."""
        wanted = self._config.pluginmanager.hasplugin("terminalreporter")
        return [
            line
            for line, _ in terminal.lines_of(self._tests if wanted else [], self._fault, level=1)
        ]
