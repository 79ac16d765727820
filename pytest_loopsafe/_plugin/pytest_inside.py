"""What is private of pytest, of its async plugins and of hypothesis: all such names are here.

Where there is a public way, that is taken. Each name says in which versions it was seen to do what
it is used for, and a version outside of `TRIED` is told, once.
"""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

TRIED: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "pytest": ((8, 0), (10, 0)),
    "pytest-asyncio": ((1, 1), (2, 0)),
    "anyio": ((4, 0), (5, 0)),
}
"""The first version that this was tried with, and the first that it was not."""

DECIDERS = ("anyio_backend", "event_loop_policy")
"""Fixtures whose values decide which loop a test gets."""
_FACTORY = "_asyncio_loop_factory"  # pytest-asyncio 1.4 and later: a parameter of the test


def untried(config: pytest.Config) -> Iterator[str]:
    """The loaded plugins, and pytest itself, that are of a version nobody has tried."""
    found = {"pytest": pytest.__version__}
    for _, distribution in config.pluginmanager.list_plugin_distinfo():
        found[distribution.project_name] = distribution.version
    for name, (first, beyond) in TRIED.items():
        version = found.get(name)
        if version is not None and not first <= _parsed(version) < beyond:
            yield (
                f"{name} {version} was never tried with this pytest-loopsafe, which needs private "
                f"parts of it: {first[0]}.{first[1]} or later was, up to {beyond[0] - 1}.x"
            )


def _parsed(version: str) -> tuple[int, int]:
    parts = [int(part) for part in version.split(".")[:2] if part.isdecimal()]
    return (parts[0] if parts else 0), (parts[1] if len(parts) > 1 else 0)


def start_again(item: pytest.Item) -> None:
    """Forget the values of a test's fixtures, as pytest itself does for a test that is run again.

    What is cached in a fixture's definition is found again by the next setup.
    """
    if isinstance(item, pytest.Function):
        item._initrequest()  # pytest 8.0 to 9.2


def fresh_instance(item: pytest.Item) -> None:
    """Have a new instance made of a test method's class, when it is next asked for.

    Not for a hypothesis test: one that is called with several instances is a fault to hypothesis.
    """
    if (
        isinstance(item, pytest.Function)
        and isinstance(item.parent, pytest.Class)
        and not hasattr(item.obj, "hypothesis")
    ):
        for name in ("_instance", "_obj"):  # pytest 8.2 to 9.2; before it had the second alone
            if name in vars(item):
                delattr(item, name)


def expect_tmp_path(item: pytest.Item, error: BaseException | None = None) -> None:
    """Have pytest note, as after each phase, how a test went: ``tmp_path`` asks at its teardown.

    No private name, but knowledge of its inside: that teardown takes the note away, and fails where
    a second one finds none. Only the two plugins that write it are asked, so nobody is told.

    Args:
        item: the test.
        error: what has failed it.
    """

    def outcome() -> None:
        if error is not None:
            raise error

    manager = item.config.pluginmanager
    writers = [manager.get_plugin(name) for name in ("tmpdir", "runner")]
    others = [plugin for plugin in manager.get_plugins() if plugin not in writers]
    note = manager.subset_hook_caller("pytest_runtest_makereport", others)
    # Of a class that no outcome of pytest's is outside of, Ctrl-C but not being raised here.
    note(item=item, call=pytest.CallInfo.from_call(outcome, "call" if error else "setup"))


def is_async_fixture(function: Callable[..., Any]) -> bool:
    """Whether a fixture is set up in a loop: async, or sync and pytest-asyncio's.

    ``@pytest_asyncio.fixture`` may stand on a plain function, which then has a current loop. Its
    mark is private (pytest-asyncio 0.17 to 1.5).
    """
    plain = getattr(function, "__func__", function)
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or getattr(plain, "_force_asyncio_fixture", False) is True
    )


def is_the_frameworks(name: str) -> bool:
    """Whether a fixture serves a test framework itself: never to be made anew for a pass."""
    return name in (*DECIDERS, _FACTORY) or (name.startswith("_") and name.endswith("_runner"))


def is_used_up(fixture: pytest.FixtureDef[Any]) -> bool:
    """Whether a fixture serves one run of a test, and refuses a second: pytest-benchmark's.

    Told from a fixture of that name that is somebody else's by its module (pytest-benchmark 4.0 to
    5.3).
    """
    module = getattr(fixture.func, "__module__", None)
    return fixture.argname == "benchmark" and module == "pytest_benchmark.plugin"


def has_a_database(item: pytest.Item) -> bool:
    """Whether pytest-django gives a test a database, and takes back at its end what is in there.

    By public names: its marker, and what all its fixtures for a database ask for, but for the
    server, which has the database emptied (pytest-django 4.5 to 4.14).
    """
    names = getattr(item, "fixturenames", ())
    return "django_db_blocker" in names and (
        item.get_closest_marker("django_db") is not None
        or "django_db_setup" in names
        or "live_server" in names
    )


def loop_factory_parameter(item: pytest.Item) -> Callable[[], Any] | None:
    """The factory that ``pytest_asyncio_loop_factories`` gave a test as its parameter."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    factory: Callable[[], Any] | None = parameters.get(_FACTORY)
    return factory


def is_in_force(policy: Any) -> bool:
    """Whether an event loop policy is the process's own: then ``asyncio.run()`` asks it anyhow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.14 on
        return asyncio.get_event_loop_policy() is policy


def inner_test(function: Any) -> Callable[..., Any] | None:
    """The function that hypothesis calls for each example; None for a test that is not its.

    Public, but for what anyio leaves in its place when it has run the test (anyio 4.9 to 4.16).
    """
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", None)
    return getattr(inner, "_anyio_original_func", inner)


@contextmanager
def each_example_by(function: Any, inner: Callable[..., Any]) -> Iterator[None]:
    """Have hypothesis call something else for each example, and not time it.

    Its deadline is for one call, and here are several, each looked at when it has ended. There is
    no public way to the settings of a test that has some (hypothesis 3.64 to 6.170).
    """
    function = getattr(function, "__func__", function)  # of a method nothing can be set
    handle, name = function.hypothesis, "_hypothesis_internal_use_settings"
    before, given = handle.inner_test, getattr(function, name, None)
    handle.inner_test = inner
    if given is not None:
        setattr(function, name, type(given)(parent=given, deadline=None))
    try:
        yield
    finally:
        handle.inner_test = before
        if given is not None:
            setattr(function, name, given)


def asyncio_loop_scope(fixture: pytest.FixtureDef[Any], config: pytest.Config) -> str | None:
    """For how long pytest-asyncio keeps an async fixture's loop; None for one that is not its.

    The scope given to ``@pytest_asyncio.fixture`` is private (pytest-asyncio 1.1 to 1.5).
    """
    if not config.pluginmanager.hasplugin("asyncio"):
        return None
    function = getattr(fixture.func, "__func__", fixture.func)
    mode = config.getoption("asyncio_mode", None) or config.getini("asyncio_mode")
    if not getattr(function, "_force_asyncio_fixture", False) and mode != "auto":
        return None
    default = config.getini("asyncio_default_fixture_loop_scope")
    given = getattr(function, "_loop_scope", None) or default
    return fixture.scope if given in (None, "", "fixture-scope") else str(given)


# -- whole runs of a test, one after another ----------------------------------------------------


def expect_logs(item: pytest.Item) -> None:
    """Have the logging plugin ready for a teardown that follows one which has failed."""
    manager = item.config.pluginmanager
    others = [
        one for one in manager.get_plugins() if one is not manager.get_plugin("logging-plugin")
    ]
    manager.subset_hook_caller("pytest_runtest_setup", others)(item=item)


def captured(item: pytest.Item) -> list[tuple[str, str, str]]:
    """What a test's reports will say was printed and logged (pytest 8.0 to 9.2)."""
    return item._report_sections


def recorded(item: pytest.Item) -> list[BaseException]:
    """What a unittest test has failed with, been skipped by, or should have: nothing is raised.

    pytest 8.0 to 9.2.
    """
    return [one.value for one in getattr(item, "_excinfo", None) or ()]


def forget_recorded(item: pytest.Item) -> None:
    """Have pytest go by what is raised instead."""
    getattr(item, "_excinfo", []).clear()


def expects_failure(item: pytest.Item) -> bool:
    """Whether a test has ``unittest.expectedFailure``, or its class (Python 3.11 to 3.14)."""
    marked = (getattr(item, "obj", None), getattr(item, "cls", None))
    return any(getattr(one, "__unittest_expecting_failure__", False) is True for one in marked)
