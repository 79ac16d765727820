"""A test run again, whole, within its one call phase: setup, call and teardown by pytest's hooks.

Whoever owns the test's loop (pytest-asyncio, anyio, ``IsolatedAsyncioTestCase``, ``asyncio.run``)
makes a new one for each run, so nothing of the test is taken over; its own fixtures are made anew,
those of a wider scope stay. For everybody else it is one test with one verdict.

Rejected: to parametrise the test (other ids, N reports, wrong under ``--lf``), and to run its body
in loops of our own (a fixture that one run uses up, two masters for one loop).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_loopsafe._plugin import pytest_inside


class WholeRuns:
    """Runs tests again.

    Attributes:
        under_way: whether a test is being run again now.
    """

    def __init__(self) -> None:
        self.under_way = False
        self._properties = 0
        self._owed: BaseException | None = None

    def begin(self, item: pytest.Item) -> None:
        """A test is about to be set up for the first time."""
        self._properties = len(item.user_properties)
        self._owed = None

    def again(self, item: pytest.Item, between: Callable[[], None]) -> BaseException | None:
        """End a run of a test whose call has passed, and run it once more, up to its call's end.

        Args:
            item: the test.
            between: called when the run before is over.

        Returns:
            What failed the new run, also where nothing was raised; None for nothing. What fails the
            teardown of the run before is raised by `settle`.

        Raises:
            KeyboardInterrupt, pytest.exit.Exception: as they come.
        """
        self.under_way = True
        try:
            if not self._is_torn_down(item):
                return None
            between()
            pytest_inside.start_again(item)
            pytest_inside.fresh_instance(item)
            pytest_inside.captured(item).clear()  # a report shows what one run has printed
            del item.user_properties[self._properties :]
            item.ihook.pytest_runtest_setup(item=item)
            item.ihook.pytest_runtest_call(item=item)
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:  # noqa: BLE001 - pytest's own outcomes are among them
            return error
        finally:
            self.under_way = False
        return next(iter(pytest_inside.recorded(item)), None)

    @property
    def is_broken(self) -> bool:
        """Whether a run has failed in its teardown, so that there can be no other."""
        return self._owed is not None

    def settle(self) -> None:
        """Fail a test's teardown as it would have failed had the test run once."""
        owed, self._owed = self._owed, None
        if owed is not None:
            raise owed

    def _is_torn_down(self, item: pytest.Item) -> bool:
        try:
            # What its parent needs stays: fixtures of a wider scope.
            item.ihook.pytest_runtest_teardown(item=item, nextitem=item.parent)
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            pytest_inside.expect_logs(item)
            self._owed = error
        pytest_inside.expect_tmp_path(item)
        return self._owed is None
