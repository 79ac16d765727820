"""Watches every test as it stands, for an audit."""

from __future__ import annotations

import functools
from collections.abc import Generator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytest_loopsafe._plugin import marker
from pytest_loopsafe._plugin.looped import LoopedTests
from pytest_loopsafe._plugin.session import LoopsafeSession
from pytest_loopsafe._words.settings import Settings

if TYPE_CHECKING:
    from pytest_loopsafe._report.report import LoopReport
    from pytest_loopsafe._watch.watch import Watch

_RUNNERS = frozenset({"loopsafe_runner", "loopsafe_celery"})


@dataclass(frozen=True)
class _Audited:
    """One test watched as it stands, in the shape of a run."""

    report: LoopReport


class Audit:
    """Watches each test that is not judged by a run of its own.

    Args:
        session: keeps what was found.
        looped: knows which tests are run over loops.
    """

    def __init__(self, session: LoopsafeSession, looped: LoopedTests) -> None:
        self._session = session
        self._looped = looped

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """In an audit each test is watched: patch asyncio once, and not for each."""
        from pytest_loopsafe._watch.canary import BlindError
        from pytest_loopsafe._watch.watch import standing_by

        with ExitStack() as stack:
            with suppress(BlindError):  # each test will say so
                stack.enter_context(standing_by())
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Watch the test's call."""
        if self._is_judged_by_a_run(item):
            return (yield)  # what the test runs itself is judged as the test wants it
        from pytest_loopsafe._run.last_words import exit_guarded
        from pytest_loopsafe._watch.watch import Watch

        base = Settings.checked(**marker.defaults(item.config, item))
        watch = Watch(strict=base.strict, ignore=base.ignore, adapters=self._session.adapters())
        with watch.as_one_pass() as report:
            self._session.started(item, _Audited(report))
            with exit_guarded(functools.partial(self._exits, item, watch, report)):
                result = yield
        report.raise_for_errors()
        return result

    def _exits(self, item: pytest.Item, watch: Watch, report: LoopReport, status: int) -> None:
        with suppress(Exception):  # then what was found before is what there is
            watch.end_pass()
        self._session.last_word(
            f"{report}\npytest-loopsafe: {item.nodeid} called os._exit({status!r}); the process "
            "ends here."
        )

    def _is_judged_by_a_run(self, item: pytest.Item) -> bool:
        """Whether the test runs over loops, or runs something that is judged as the test wants."""
        if isinstance(item, pytest.Function) and self._looped.settings_of(item) is not None:
            return True
        return not _RUNNERS.isdisjoint(getattr(item, "fixturenames", ()))
