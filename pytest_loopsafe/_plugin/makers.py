"""Who makes what is made now: a test, a fixture of it, the fixture of a module or of all tests."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import pytest

from pytest_loopsafe._words.loops import Maker
from pytest_loopsafe._words.stacks import is_library


class Makers:
    """Follows which fixture is set up or torn down, by pytest's public hooks.

    A library's own fixture (the runner of pytest-asyncio for a session) is not what its user knows:
    what is made there is told under the fixture or the test that asked for it. But it lasts as long
    as that fixture does.
    """

    def __init__(self) -> None:
        self.test: Maker | None = None
        self._at_work: list[Maker] = []
        self._of_fixture: dict[object, Maker] = {}

    def now(self) -> Maker | None:
        """Who makes what is made now; None outside of all tests."""
        return self._at_work[-1] if self._at_work else self.test

    def begin(self, item: pytest.Item) -> Maker:
        """A test begins."""
        self.test = Maker(item.nodeid)
        return self.test

    def end(self) -> None:
        """The test that began last has ended."""
        if self.test is not None:
            self.test.is_over = True
            self.test = None

    @property
    def goes_on(self) -> bool:
        """Whether any fixture has not been torn down yet."""
        return bool(self._of_fixture)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Note the fixture, until it is set up; and again when its teardown begins."""
        asker = self.now()
        wide = fixturedef.scope != "function"
        maker = Maker(_name(fixturedef, request, asker), is_wide=wide)
        self._of_fixture[fixturedef] = maker
        self._at_work.append(maker)
        try:
            return (yield)
        finally:
            self._at_work.remove(maker)
            # The last finalizer that is added is the first to be called.
            request.addfinalizer(partial(self._at_work.append, maker))

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[object]) -> None:
        """Note that a fixture has been torn down. It may be told more than once."""
        maker = self._of_fixture.pop(fixturedef, None)
        if maker is not None:
            maker.is_over = True
            if maker in self._at_work:
                self._at_work.remove(maker)


def _name(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest, asker: Maker | None
) -> str:
    """A fixture, for people."""
    name, where = fixturedef.argname, request.node.nodeid or "the session"
    if name.startswith(("_xunit_", "_unittest_")):
        return f"{where} (its setup and teardown)"
    code = getattr(fixturedef.func, "__code__", None)
    if code is not None and is_library(code.co_filename):
        return asker.name if asker is not None else where
    test = asker.name.partition(" (")[0] if asker is not None else where
    scope = "" if fixturedef.scope == "function" else f", {fixturedef.scope} scope"
    return f"{test} (fixture {name!r}{scope})"
