"""What was found in the tests of a session, until it is told."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytest_loopsafe._plugin.collector import LoopsafeCollector

if TYPE_CHECKING:
    from pytest_loopsafe._adapters import Adapters
    from pytest_loopsafe._adapters.base import Adapter
    from pytest_loopsafe._plugin.baseline import Baseline
    from pytest_loopsafe._report.report import LoopReport

_RUNS = pytest.StashKey[list[Any]]()
_FACTS = pytest.StashKey[Mapping[str, Any]]()
_TOLD = pytest.StashKey[dict[str, Any]]()


@dataclass(frozen=True)
class Told:
    """What there is to tell of a test, in the shape of a run."""

    report: LoopReport


class LoopsafeSession:
    """Keeps the runs of each test, and loses none of them when the session breaks off.

    Args:
        last_word: where to write when the process is about to end.
        adapters: the user's own, from the hook ``pytest_loopsafe_adapters``.
        baseline: what is known already and fails no test, if the user has such a file.
        progress: told of each loop that begins, on a live terminal.
    """

    def __init__(
        self,
        last_word: Callable[[str], None],
        adapters: tuple[Adapter, ...] = (),
        baseline: Baseline | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        self._say = last_word
        self.own_adapters = adapters
        self._baseline = baseline
        self._progress = progress
        self._current: pytest.Item | None = None
        self._adapters: Adapters | None = None

    def adapters(self) -> Adapters:
        """All adapters, looked up once for the session."""
        if self._adapters is None:
            from pytest_loopsafe._adapters import Adapters

            self._adapters = Adapters(self.own_adapters)
        return self._adapters

    def began(self, item: pytest.Item) -> None:
        """A test begins, perhaps not for the first time: a rerun is judged by itself."""
        item.stash[_RUNS] = []
        item.stash[_FACTS] = {}
        item.stash[_TOLD] = {}

    def note(self, item: pytest.Item, facts: Mapping[str, Any]) -> None:
        """Keep for the report how a test was run."""
        item.stash[_FACTS] = facts

    def started(self, item: pytest.Item, run: Any) -> None:
        """Remember a run before it begins, so that an interruption loses nothing."""
        item.stash.setdefault(_RUNS, []).append(run)
        if self._progress is not None and hasattr(run, "on_round"):
            run.on_round = self._progress
        if self._baseline is not None:
            run.report.set_aside(functools.partial(self._baseline.knows, item.nodeid))
        self._current = item

    def keep_only(self, item: pytest.Item, run: Any) -> None:
        """Of a test's runs, forget all but one, which tells for them."""
        item.stash[_RUNS] = [run]

    def let_go(self, item: pytest.Item) -> None:
        """The test's call is over: keep of its runs nothing of the test's own.

        What it left open would else be closed by the collector in the time of another test.
        """
        item.stash[_RUNS] = [
            run if isinstance(run, Told) else Told(run.report.without_results())
            for run in item.stash.get(_RUNS, [])
        ]

    def last_word(self, text: str) -> None:
        """Tell all that was found so far: the process is about to end, and nobody else will."""
        item = self._current
        collector = _collector(item) if item is not None else None
        if item is None or collector is None:
            self._say(text)
            return
        collector.take(self.data_of(item, "interrupted"))
        collector.write()
        self._say("\n".join((*collector.told(), text)))

    def reports_of(self, item: pytest.Item) -> list[LoopReport]:
        """The reports of a test's runs, final or not."""
        return [run.report for run in item.stash.get(_RUNS, [])]

    def forget(self, item: pytest.Item) -> None:
        """The test is over, and all is told. Should it be run again, it begins anew."""
        self._current = None
        self.began(item)

    def data_of(self, item: pytest.Item, outcome: str) -> dict[str, Any]:
        """What was found in a test, as plain data: it travels with the test's report."""
        from pytest_loopsafe._report.document import encodable, merged  # only when used

        reports = self.reports_of(item)
        told = merged(one.to_json() for one in reports)
        known = [] if self._baseline is None else [one for each in reports for one in each.known]
        data: dict[str, Any] = {
            "nodeid": item.nodeid,
            "outcome": outcome,
            **told,
            "known": [finding.to_json() for finding in known],
        }
        if _FACTS in item.stash:
            facts = item.stash[_FACTS]
            data.update(facts)
        data = encodable(data)
        item.stash[_TOLD] = data
        return data

    def news_of(
        self, item: pytest.Item, when: str, report: pytest.TestReport | None = None
    ) -> dict[str, Any] | None:
        """All that was found in a test; after its call, only where that is more than was told.

        Args:
            item: the test.
            when: the phase that has ended.
            report: pytest's, of that phase; None at the session's end.
        """
        told = item.stash.get(_TOLD, None) or {}
        outcome = told.get("outcome", "passed")
        if report is not None and (when != "teardown" or report.failed):
            outcome = report.outcome
        if when == "teardown" and told and outcome == told["outcome"]:
            reports = self.reports_of(item)
            loops = sum(len(one.loops) for one in reports)
            findings = sum(len(one.findings) for one in reports)
            if (loops, findings) == (told["loops"], len(told["findings"])):
                return None  # most tests: to compare all would cost each of them
        data = self.data_of(item, outcome)
        if when != "teardown":
            return data
        return {**data, "again": bool(told)} if data != told else None

    def tell_late(self, item: pytest.Item) -> None:
        """Tell what was found after the last report of a test, at the session's end."""
        data = self.news_of(item, "teardown")
        collector = _collector(item)
        if data is not None and collector is not None:
            collector.take(data)
        elif data is not None and hasattr(item.config, "workeroutput"):
            item.config.workeroutput.setdefault("loopsafe", []).append(data)

    def pytest_keyboard_interrupt(self) -> None:
        """Keep what was found in the test that Ctrl-C ended: it gets no report of its own."""
        self._keep_current()

    def pytest_internalerror(self) -> None:
        """Nor does the one in which pytest or a plugin broke, out of memory perhaps."""
        with contextlib.suppress(Exception):  # then we would break too
            self._keep_current()

    def _keep_current(self) -> None:
        item = self._current
        if item is None:
            return
        collector = _collector(item)
        if collector is not None:
            told = bool(item.stash.get(_TOLD, None))
            collector.take({**self.data_of(item, "interrupted"), "again": told})


def _collector(item: pytest.Item) -> LoopsafeCollector | None:
    """Who collects, in this process; a worker of pytest-xdist's has nobody."""
    found = item.config.pluginmanager.getplugin("loopsafe-collector")
    return found if isinstance(found, LoopsafeCollector) else None
