"""Runs tests with the marker over loops."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_loopsafe import _cpython
from pytest_loopsafe._plugin import declared, marker, pytest_inside, verdicts
from pytest_loopsafe._plugin.pass_fixtures import PassFixtures
from pytest_loopsafe._plugin.session import LoopsafeSession
from pytest_loopsafe._plugin.wide_fixtures import WideFixtures
from pytest_loopsafe._report.report import LoopSafetyError
from pytest_loopsafe._words.settings import Settings, SettingsError

if TYPE_CHECKING:
    from pytest_loopsafe._run.runner import LoopRun

_BODY = pytest.StashKey[Callable[..., Any]]()
_SETTINGS = pytest.StashKey[Settings | None]()
_PASSES = pytest.StashKey[PassFixtures]()
_HAS_RUN = pytest.StashKey[bool]()


class LoopedTests:
    """Takes the body of a test that is to run over loops, before another plugin wraps it.

    Args:
        session: keeps each run.
    """

    def __init__(self, session: LoopsafeSession) -> None:
        self._session = session
        self._wide = WideFixtures()

    def settings_of(self, item: pytest.Item) -> Settings | None:
        """How to run a test over loops; None for a test that runs as it is."""
        if _SETTINGS not in item.stash:
            item.stash[_SETTINGS] = marker.marked(item)
        return item.stash[_SETTINGS]

    # -- setting up ----------------------------------------------------------------------------

    @pytest.hookimpl(specname="pytest_runtest_setup")  # once it is known whether it is skipped
    def pytest_refuse_what_cannot_run(self, item: pytest.Item) -> None:
        """Fail an item that the marker is on by mistake, that one alone."""
        reason = marker.unsuitable(item)
        if reason is not None:
            pytest.fail(reason, pytrace=False)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Put off what is made for each pass."""
        item.stash[_HAS_RUN] = False
        settings = marker.marked(item)
        if settings is None or not isinstance(item, pytest.Function):
            return (yield)
        if item.get_closest_marker("trio") is not None:
            self._leave_alone(item, "trio")
            return (yield)
        passes = item.stash[_PASSES] = PassFixtures(item, fresh=_is_fresh(item, settings))
        with passes.deferring():
            result = yield
        passes.put_off()
        if passes.backend != "asyncio":
            self._leave_alone(item, passes.backend)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost: the others see what it puts there
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Have a marked test's fixtures made when and where they are to be."""
        if fixturedef.scope != "function":
            self._wide.note(fixturedef)
            return (yield)
        passes = request.node.stash.get(_PASSES, None)
        if passes is None:
            return (yield)
        with passes.setting_up(fixturedef, request):
            return (yield)

    def _leave_alone(self, item: pytest.Item, backend: str) -> None:
        """A test in loops that are none of asyncio's is its own plugin's, fixtures and all."""
        item.stash[_SETTINGS] = None
        note = f"it runs under {backend}, as it would without the marker: not over asyncio's loops"
        self._session.started(item, verdicts.not_run(note))

    # -- running -------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Keep the test's own function, which other plugins are about to wrap."""
        settings = self.settings_of(item)
        if not isinstance(item, pytest.Function) or settings is None:
            return (yield)
        if marker.is_a_case(item):
            with self._in_place_of_unittest(item, settings):
                return (yield)
        item.stash[_BODY] = pytest_inside.inner_test(item.obj) or item.obj
        result = yield
        if not item.stash[_HAS_RUN] and item.get_closest_marker(declared.NAME) is not None:
            verdicts.fail_for_another(item, self)
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Run a ``multi_loop`` test; nobody else does, whatever other markers it has."""
        settings = self.settings_of(pyfuncitem)
        if settings is None:
            return None
        __tracebackhide__ = True
        function = pyfuncitem.obj
        wanted = inspect.signature(function).parameters
        values = {name: value for name, value in pyfuncitem.funcargs.items() if name in wanted}
        self._run(pyfuncitem, settings, pyfuncitem.stash.get(_BODY, function), values)
        return True

    @contextlib.contextmanager
    def _in_place_of_unittest(self, item: pytest.Function, settings: Settings) -> Iterator[None]:
        """A case runs itself: there is no hook in which another could run it."""
        from pytest_loopsafe._plugin.cases import Case  # only when it is used

        case = Case(item)

        def runtest() -> None:
            __tracebackhide__ = True
            try:
                self._run(item, settings, case, {})
            except LoopSafetyError as unsafe:
                if pytest_inside.expects_failure(item):
                    pytest.xfail("; ".join(one.message for one in unsafe.report.errors))
                raise
            if case.expected is not None:
                pytest.xfail(str(case.expected))

        item.runtest = runtest  # type: ignore[method-assign]
        try:
            yield
        finally:
            del item.runtest

    def _run(
        self,
        item: pytest.Function,
        settings: Settings,
        body: Callable[..., Any],
        values: dict[str, Any],
    ) -> None:
        __tracebackhide__ = True
        item.stash[_HAS_RUN] = True
        try:
            if pytest_inside.inner_test(item.obj) is None or marker.is_a_case(item):
                run = self._prepared(item, settings, functools.partial(body, **values))
                self._session.started(item, run)
                most = _executed(run)
            else:
                most = self._each_example(item, settings, body, values)
        except SettingsError as error:
            text = f"@pytest.mark.{declared.NAME}: {error}"
            raise pytest.fail.Exception(text, pytrace=False) from None
        from pytest_loopsafe._run.runner import is_async

        if not is_async(body):
            verdicts.fail_without_loops(settings, most)

    def _each_example(
        self,
        item: pytest.Function,
        settings: Settings,
        body: Callable[..., Any],
        values: dict[str, Any],
    ) -> int:
        """Have hypothesis call the test, and run each of its examples over the loops."""
        __tracebackhide__ = True
        from pytest_loopsafe._watch.canary import BlindError
        from pytest_loopsafe._watch.watch import standing_by

        telling: LoopRun | None = None
        used: list[int] = []

        def over_loops(*args: Any, **kwargs: Any) -> None:
            __tracebackhide__ = True
            nonlocal telling
            run = self._prepared(item, settings, functools.partial(body, *args, **kwargs))
            self._session.started(item, run)
            try:
                used.append(_executed(run))
            finally:
                telling = verdicts.telling(telling, run)
                self._session.keep_only(item, telling)

        over_loops.__name__ = getattr(body, "__name__", "test")
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(BlindError):  # each example will say so
                stack.enter_context(standing_by())
            stack.enter_context(pytest_inside.each_example_by(item.obj, over_loops))
            item.obj(**values)
        if not used:
            pytest.fail("hypothesis has run no example of this test", pytrace=False)
        return max(used)

    def _prepared(
        self, item: pytest.Function, settings: Settings, call: functools.partial[Any]
    ) -> LoopRun:
        """A run of one call of the test, whose fixtures are made for each pass as they have to be.

        Raises:
            SettingsError: for settings that this test cannot be run with.
        """
        from pytest_loopsafe._run.runner import LoopRun, is_async

        passes = item.stash.get(_PASSES, None)
        fixtures = {name: value for name, value in call.keywords.items() if name in item.funcargs}
        conduct: Callable[..., Any] | None = None
        if passes is not None and (is_async(call) or passes.names or passes.fresh):
            if settings.schedule != "concurrent":
                again = functools.partial(_called_again, item, call, tuple(fixtures))
                conduct = functools.partial(passes.conduct, call=again)
            elif passes.names:
                raise SettingsError(
                    "schedule='concurrent' cannot be used with fixtures that are made for each "
                    f"pass ({', '.join(passes.names)}): pytest sets up one after another. Make "
                    "what they give inside the test, or use 'threads'"
                )
        if passes is not None and (is_async(call) or conduct is not None):
            settings = _in_the_loops_of(passes, settings)
        known = {name: value for name, value in call.keywords.items() if name not in fixtures}
        for name, value in fixtures.items():
            if passes is None or name not in passes.names:  # of another there is none yet
                known[name] = value
        subjects, advice = self._wide.of(item)
        return LoopRun(
            functools.partial(call.func, *call.args, **known),
            settings,
            subjects=subjects,
            advice=advice,
            adapters=self._session.adapters(),
            last_word=self._session.last_word,
            conduct=conduct,
        )


def _executed(run: LoopRun) -> int:
    """Run it, raise what it is to be failed for, and tell how many loops there were.

    A loop that is installed here is somebody's who keeps it for other tests, such as pytest-asyncio
    1.1 or the project's own fixture: it is there again afterwards.
    """
    __tracebackhide__ = True
    from pytest_loopsafe._run.api import raise_outcome

    installed = _cpython.installed_loop()
    try:
        raise_outcome(run.execute())
    finally:
        if installed is not None:
            asyncio.set_event_loop(installed)
    return run.loops_used


def _is_fresh(item: pytest.Item, settings: Settings) -> bool:
    """Whether a test's fixtures are all made for each pass, also where nobody has said so.

    A pass finds the database as a test would, and the test's fixtures write to it. But threads that
    run at one time have it in common.
    """
    if settings.fixtures == "fresh":
        return True
    return settings.schedule != "concurrent" and pytest_inside.has_a_database(item)


def _in_the_loops_of(passes: PassFixtures, settings: Settings) -> Settings:
    """With what the test's fixtures and parameters say of its loops.

    Raises:
        SettingsError: the marker says otherwise.
    """
    factory = passes.loop_factory
    if factory is None:
        return settings
    if settings.loop_factory is not None:
        raise SettingsError(
            f"loop_factory={settings.loop_factory!r} is not allowed where a fixture or a parameter "
            f"of the test says which loop it has ({factory!r}): leave one of them out"
        )
    return replace(settings, loop_factory=factory)


def _called_again(
    item: pytest.Function, call: functools.partial[Any], names: tuple[str, ...]
) -> Callable[[], Any]:
    """A call of the test with the values that its fixtures have now, on the instance of now."""
    body = call.func
    instance = item.instance
    if inspect.ismethod(body) and isinstance(instance, type(body.__self__)):
        body = body.__func__.__get__(instance)
    values = {**call.keywords, **{name: item.funcargs[name] for name in names}}
    return functools.partial(body, *call.args, **values)
