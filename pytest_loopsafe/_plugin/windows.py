"""One test under watch, as it stands."""

from __future__ import annotations

from contextlib import ExitStack

from pytest_loopsafe._report.report import LoopReport, LoopSafetyError
from pytest_loopsafe._run.schedules import Schedule
from pytest_loopsafe._watch.watch import Watch
from pytest_loopsafe._words.findings import Finding


class Window:
    """Watches from a test's first setup to its last teardown.

    What is found is judged when the test's call has ended, so that it fails the test; and what its
    fixtures' ends add to that when they have, so that it is an error of its teardown.

    Args:
        watch: does the watching.
        key: what stands for the test's code: all runs of it have the same.
        schedule: steers which ``id()`` the loops of several runs get; None for one run.
    """

    def __init__(self, watch: Watch, key: str, schedule: Schedule | None) -> None:
        self.watch = watch
        self.report = LoopReport(watch.contents)
        self._key = key
        self._schedule = schedule
        self._armed = ExitStack()
        self._told: set[tuple[str, str]] = set()

    def open(self) -> None:
        """Begin.

        Raises:
            BlindError: when the canary is not seen on this interpreter.
        """
        patches = self._armed.enter_context(self.watch.armed())
        if self._schedule is not None:
            self._armed.enter_context(self._schedule.running(patches))
            self.watch.begin_pass(1, self._key)
        else:  # what is there before is looked at to be compared with what later runs make
            self.watch.loops.begin_pass(1, self._key)

    def next_run(self, number: int) -> None:
        """A run of the test has been torn down, and another is about to begin."""
        if self._schedule is not None:
            self._schedule.between()
        self.watch.end_pass()
        self.watch.begin_pass(number, self._key)

    def judge(self, *errors: BaseException) -> None:
        """Judge what there is by now.

        Args:
            *errors: what pytest is told of: none of it was swallowed.
        """
        quiet = self.watch.is_quiet
        self.watch.end_pass(*errors, thorough=not quiet, last=self._schedule is None)
        if not quiet:
            self.watch.end_run(whole=False)  # what is left is mostly pytest's; all costs 0.1 s

    def close(self) -> None:
        """Nothing of the test is left."""
        self._armed.close()
        self.report.close()

    def new_errors(self) -> LoopSafetyError | None:
        """What fails the test, and was not told before."""
        if not self.watch.findings():
            return None
        new = tuple(one for one in self.report.errors if _key(one) not in self._told)
        self._told.update(map(_key, new))
        if not new:
            return None
        told = LoopReport(self.watch.contents)
        told.close(findings=new)
        return LoopSafetyError(told)


def _key(finding: Finding) -> tuple[str, str]:
    return finding.code, finding.message
