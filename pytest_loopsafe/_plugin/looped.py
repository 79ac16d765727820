"""Runs tests over loops: those with the marker, and in an audit over N loops the async ones."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any

import pytest

from pytest_loopsafe._plugin import marker
from pytest_loopsafe._plugin.session import LoopsafeSession
from pytest_loopsafe._words.settings import Settings

_BODY = pytest.StashKey[Callable[..., Any]]()
_SETTINGS = pytest.StashKey[Settings | None]()


class LoopedTests:
    """Takes the body of a test that is to run over loops, before another plugin wraps it.

    Args:
        session: keeps each run.
        audit_loops: run every async test over so many loops; 0 for marked ones alone.
    """

    def __init__(self, session: LoopsafeSession, audit_loops: int) -> None:
        self._session = session
        self._audit_loops = audit_loops

    def settings_of(self, item: pytest.Item) -> Settings | None:
        """How to run a test over loops; None for a test that runs as it is."""
        if _SETTINGS not in item.stash:
            settings = marker.marked(item)
            over_loops = self._audit_loops and _is_plain_async(item) and not _is_for_trio(item)
            if settings is None and over_loops:
                base = marker.defaults(item.config, item)
                settings = Settings.checked(**{**base, "loops": self._audit_loops})
            item.stash[_SETTINGS] = settings
        return item.stash[_SETTINGS]

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
        """Keep the test's own function, which other plugins are about to wrap."""
        if isinstance(item, pytest.Function) and self.settings_of(item) is not None:
            item.stash[_BODY] = item.obj
        return (yield)

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
                adapters=self._session.adapters(),
                last_word=self._session.last_word,
            )
            self._session.started(pyfuncitem, run)
            report = run.execute()
        except SettingsError as error:
            pytest.fail(f"@pytest.mark.{marker.NAME}: {error}", pytrace=False)
        raise_outcome(report)
        return True


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
