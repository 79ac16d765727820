"""The fixtures of a test that runs over loops: made for each pass in its loop, or shared by all.

Made for each pass are function-scoped fixtures that are async, what depends on them, and with
``fixtures="fresh"`` all others too. When pytest sets the test up, each of them gets a placeholder;
before each pass the test is set up again, and then they are made in the pass's loop, while pytest
finds all others as they were. So order, overriding, parameters and errors are pytest's own.

pytest-asyncio and anyio see sync functions and stay out of it. Rejected: to set the fixtures up
by hand in the order of their names (it loses dynamic requests, and pytest's ``--setup-show``), and
to repeat the whole item (fixtures that are to be shared would be made anew).
"""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_loopsafe._cpython import get_running_loop
from pytest_loopsafe._plugin import pytest_inside
from pytest_loopsafe._plugin.pass_loop import PassLoop

Fixture = Any
"""A ``pytest.FixtureDef``, whose function is replaced for a moment, as async plugins do."""
Request = Any
"""The ``pytest.FixtureRequest`` with which pytest sets a fixture up."""


class PassFixtures:
    """Knows which fixtures of one test are made for each pass, and makes them.

    Args:
        item: the test.
        fresh: whether all function-scoped fixtures are.
    """

    def __init__(self, item: pytest.Function, *, fresh: bool) -> None:
        self._item = item
        self.fresh = fresh
        self._per_pass: dict[str, tuple[Fixture, Request]] = {}
        self._shared: list[str] = []
        self._made: list[tuple[Fixture, Request]] = []
        self._loop: PassLoop | None = None
        self._is_deferring = False
        self._is_watching = False
        self.deciders: dict[str, Any] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The fixtures that are made for each pass."""
        return tuple(self._per_pass)

    @property
    def backend(self) -> str:
        """Which library's loops the test runs in, as far as its fixtures say."""
        return self._backend()[0]

    @property
    def loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """What makes the loops of this test, where a fixture or a parameter of it says so."""
        options = self._backend()[1]
        if options.get("use_uvloop"):
            import uvloop  # as anyio does

            return uvloop.new_event_loop
        factory = options.get("loop_factory") or pytest_inside.loop_factory_parameter(self._item)
        policy = self.deciders.get("event_loop_policy")
        if factory is None and policy is not None and not pytest_inside.is_in_force(policy):
            factory = policy.new_event_loop
        return factory

    def _backend(self) -> tuple[str, dict[str, Any]]:
        backend = self.deciders.get("anyio_backend", "asyncio")
        if type(backend) is tuple and len(backend) == 2:
            return backend
        return backend, {}

    # -- while pytest sets up ------------------------------------------------------------------

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """For the test's own setup: what is made for each pass is put off until then."""
        self._is_watching = self._is_deferring = True
        try:
            yield
        finally:
            self._is_deferring = False

    @contextmanager
    def setting_up(self, fixture: Fixture, request: Request) -> Iterator[None]:
        """While pytest sets up one function-scoped fixture of the test."""
        name, function = fixture.argname, fixture.func
        if not self._is_watching or pytest_inside.is_the_frameworks(name):
            yield
            return
        self._decide(request)
        if self.backend != "asyncio":
            yield
            return
        if not self._is_per_pass(fixture):
            self._shared.append(name)
            try:
                yield
            finally:
                self._shared.pop()
            return
        try:
            if self._shared:
                fixture.func = _refused(name, self._shared[-1])
            elif self._is_deferring:
                fixture.func = _nothing
            elif pytest_inside.is_async_fixture(function):
                if self._loop is None or get_running_loop() is not None:
                    fixture.func = _refused(name)
                else:
                    fixture.func = self._loop.adapted(function, request)
            yield
        finally:
            fixture.func = function
            self._per_pass.setdefault(name, (fixture, request))
            if self._loop is not None:
                self._made.append((fixture, request))  # when complete: what it asked for is first

    def _is_per_pass(self, fixture: Fixture) -> bool:
        return (
            self.fresh
            or pytest_inside.is_async_fixture(fixture.func)
            or pytest_inside.is_used_up(fixture)
            or not self._per_pass.keys().isdisjoint(fixture.argnames)
        )

    def _decide(self, request: Request) -> None:
        """Ask once whose test it is: a backend that is none of asyncio's keeps its fixtures."""
        name = pytest_inside.DECIDERS[0]
        if name not in request.fixturenames or name in self.deciders:
            return
        self._is_watching = False  # what this one needs is no pass's
        try:
            self.deciders[name] = request.getfixturevalue(name)
        finally:
            self._is_watching = True

    # -- while the passes run ------------------------------------------------------------------

    def put_off(self) -> None:
        """The test's setup has ended: take the placeholders away, and see whose loops it has."""
        funcargs = self._item.funcargs
        self.deciders |= {one: funcargs[one] for one in pytest_inside.DECIDERS if one in funcargs}
        for fixture, request in reversed(self._per_pass.values()):
            fixture.finish(request)

    def conduct(
        self,
        runner: asyncio.Runner,
        body: Callable[[Callable[[], Any]], Any],
        call: Callable[[], Callable[[], Any]],
    ) -> Any:
        """One pass: set up, call the body, tear down.

        Args:
            runner: the pass's.
            body: makes a coroutine, or of a sync test its value, of a call.
            call: makes a call of the test, once its fixtures are there.
        """
        if self._per_pass:  # in a context of its own, as each test has it from pytest-asyncio
            return contextvars.copy_context().run(self._pass, runner, body, call)
        return self._pass(runner, body, call)

    def _pass(
        self,
        runner: asyncio.Runner,
        body: Callable[[Callable[[], Any]], Any],
        call: Callable[[], Callable[[], Any]],
    ) -> Any:
        with_fixtures = bool(self._per_pass)
        one_task = with_fixtures and "anyio_backend" in self.deciders
        loop = PassLoop(runner, one_task=one_task, shares_context=with_fixtures)
        self._loop = loop
        try:
            with self._torn_down(loop):
                if with_fixtures:
                    self._set_up()
                value = body(call())
                return loop.run(value) if asyncio.iscoroutine(value) else value
        finally:
            self._loop = None

    def _set_up(self) -> None:
        pytest_inside.expect_tmp_path(self._item)
        pytest_inside.start_again(self._item)
        if self.fresh:
            pytest_inside.fresh_instance(self._item)
        self._item.setup()
        caplog: Any = self._item.funcargs.get("caplog")
        if self.fresh and caplog is not None:
            caplog.clear()  # it shows all that the item has logged

    @contextmanager
    def _torn_down(self, loop: PassLoop) -> Iterator[None]:
        """Tear down what was made, in that loop, whatever happens; the first error is raised."""
        first: BaseException | None = None
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - it is raised below
            first = error
        made, self._made = self._made, []
        ends = [
            lambda fixture=fixture, request=request: fixture.finish(request)
            for fixture, request in reversed(made)
        ]
        for end in (*ends, loop.close):
            try:
                end()
            except BaseException as error:  # noqa: BLE001 - it is raised below
                if first is None:
                    first = error
                else:
                    text = "".join(traceback.format_exception_only(error)).rstrip()
                    first.add_note(f"loopsafe: then a fixture's teardown raised {text}")
        # A loop that is still held cannot give its id() to the next one, as it would in production.
        self._item.funcargs.update(dict.fromkeys(self._per_pass))
        if first is not None:
            raise first


def _nothing(**values: Any) -> None:
    """Stands for a fixture whose time has not come."""


def _refused(name: str, shared: str | None = None) -> Callable[..., None]:
    by, more = "the test", " of the test, or with @pytest.mark.usefixtures"
    if shared is not None:
        by = f"the fixture {shared!r}, which is made once and shared by all passes,"
        more = f' of {shared!r}, or say multi_loop(fixtures="fresh")'

    def refuse(**values: Any) -> None:
        pytest.fail(
            f"{by} asks for the fixture {name!r} with request.getfixturevalue(): that one is made "
            f"for each pass, in its loop. Name {name!r} among the arguments{more}",
            pytrace=False,
        )

    return refuse
