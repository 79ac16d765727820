"""Deadlines of ours come, also in a test that has stopped the time."""

import time

import pytest

from pytest_loopsafe._words import clock


def test_it_goes_on_where_freezegun_has_stopped_the_time() -> None:
    freezegun = pytest.importorskip("freezegun")
    with freezegun.freeze_time("2099-01-01"):
        stopped, ours = time.monotonic(), clock.now()
        time.sleep(0.001)
        assert time.monotonic() == stopped
        assert clock.now() >= ours + 0.001
