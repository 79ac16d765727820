"""A method of a ``unittest.TestCase`` as one pass runs it: in a case of its own.

unittest makes the loops of an ``IsolatedAsyncioTestCase``, one for each case, and so each pass is
what a run of the test is, from ``setUp`` to the last clean-up. To a run it is a plain function that
makes a loop.

Rejected: ``TestCase.debug()``, which raises by itself: after an error it tears nothing down.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any

import pytest


class Case:
    """Runs a test's method; called once a pass.

    Args:
        item: the test.
    """

    def __init__(self, item: pytest.Function) -> None:
        self._item = item
        self.expected: BaseException | None = None

    def __call__(self) -> None:
        """Run it in a case that has what pytest's fixtures have put on the test's own.

        Raises:
            BaseException: what failed it; of several the first, with the others as notes.
            pytest.skip.Exception: it was skipped.
        """
        __tracebackhide__ = True
        made: Any = self._item.instance
        case = type(made)(self._item.name)
        for name, value in vars(made).items():
            vars(case).setdefault(name, value)
        outcome = _Outcome()
        case(outcome)
        self.expected = self.expected or outcome.expected
        outcome.tell()


class _Outcome(unittest.TestResult):
    """Keeps errors as they are; unittest's own keeps texts."""

    def __init__(self) -> None:
        super().__init__()
        self._errors: list[BaseException] = []
        self._skipped: str | None = None
        self._unexpected = False
        self.expected: BaseException | None = None

    def _failed(self, test: Any, err: Any) -> None:
        self._errors.append(err[1])

    addError: Callable[..., None] = _failed
    addFailure: Callable[..., None] = _failed

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        """One that has passed is told, too."""
        if err is not None:
            err[1].add_note(f"in the subtest {subtest._subDescription()}")
            self._errors.append(err[1])

    def addSkip(self, test: Any, reason: str) -> None:
        """Of a subtest, too."""
        self._skipped = reason

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        """It failed, as ``unittest.expectedFailure`` says that it does."""
        self.expected = err[1]

    def addUnexpectedSuccess(self, test: Any) -> None:
        """It did not."""
        self._unexpected = True

    def tell(self) -> None:
        """Raise what became of the case, unless it passed."""
        __tracebackhide__ = True
        if self._errors:
            first, *others = self._errors
            for other in others:
                first.add_note(f"and {type(other).__name__}: {other}")
            raise first
        if self._skipped is not None:
            pytest.skip(self._skipped)
        if self._unexpected:
            pytest.fail("Unexpected success", pytrace=False)
