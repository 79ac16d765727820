"""The pytest plugin: thin hooks over the engine.

Loading it declares options and fixtures, and nothing else. What works during tests is registered
only when a test asks for it (a marker, a fixture, ``--loopsafe``), so that a suite without any
runs as if the plugin were not there.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_loopsafe._plugin import declared, github, outputs
from pytest_loopsafe._words import clock  # noqa: F401 - before a test can stop the time

if TYPE_CHECKING:
    from pytest_loopsafe._adapters.base import Adapter
    from pytest_loopsafe._plugin.baseline import Baseline
    from pytest_loopsafe._plugin.fixtures.celery import LoopsafeCelery
    from pytest_loopsafe._plugin.fixtures.runner import LoopRunner
    from pytest_loopsafe._plugin.session import LoopsafeSession
    from pytest_loopsafe._words.whose import Claim

_SESSION = pytest.StashKey["LoopsafeSession"]()
_BASELINE = pytest.StashKey["Baseline"]()
_OUTPUTS = pytest.StashKey[tuple[outputs.Output, ...]]()
_WORKERS = pytest.StashKey[Any]()
_FIXTURES = frozenset({"loopsafe_runner", "loopsafe_celery"})
_CELERY_INI = {
    "app": "the Celery app, as package.module:app.",
    "broker": "the URL of a broker (the embedded one).",
    "backend": "the URL of a result backend (a temporary folder).",
}


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that a ``conftest.py`` can implement."""
    from pytest_loopsafe._plugin import newhooks

    pluginmanager.add_hookspecs(newhooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, with pytest's own ``--help`` as their page."""
    group = parser.getgroup("loopsafe", "event-loop-affinity bugs (pytest-loopsafe)")
    group.addoption(
        "--loopsafe",
        action="store_true",
        help="watch every test for use of one event loop's objects in another.",
    )
    group.addoption(
        "--loopsafe-loops",
        type=int,
        default=0,
        metavar="N",
        help="watch every test, and run each that makes an event loop N times, in N loops.",
    )
    for option, (text, _) in outputs.KINDS.items():
        group.addoption(option, default=None, metavar="PATH", help=text)
    group.addoption(
        "--loopsafe-baseline",
        default=None,
        metavar="FILE",
        help="what this file has is known: it fails no test, and what is new does.",
    )
    group.addoption(
        "--loopsafe-update-baseline",
        action="store_true",
        help="write what is found to the file of --loopsafe-baseline, and fail no test for it.",
    )
    group.addoption(
        github.OPTION,
        default="auto",
        choices=github.CHOICES,
        help="tell GitHub's runner what was found (auto: where GITHUB_ACTIONS is true).",
    )
    declared.add_ini_options(parser)
    for name, text in _CELERY_INI.items():
        parser.addini(f"loopsafe_celery_{name}", f"for loopsafe_celery: {text}", default=None)


@pytest.hookimpl(trylast=True)  # after pytest-xdist has said what it is going to do
def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker and check the options."""
    config.addinivalue_line("markers", declared.HELP)
    if declared.are_set(config):
        from pytest_loopsafe._plugin import marker  # only when it is used

        marker.defaults(config)
        marker.own_code(config)
    loops = config.getoption("loopsafe_loops")
    if loops < 0:
        raise pytest.UsageError(f"--loopsafe-loops={loops} is not allowed: give 1 or more")
    config.stash[_OUTPUTS] = files = outputs.wanted(config)
    if config.getoption("loopsafe_baseline") is not None:
        config.stash[_BASELINE] = _baseline(config)
    elif config.getoption("loopsafe_update_baseline"):
        raise pytest.UsageError("--loopsafe-update-baseline: give --loopsafe-baseline=FILE, too")
    audit = config.getoption("loopsafe") or loops
    if not hasattr(config, "workerinput") and (
        audit or files or _BASELINE in config.stash or config.getoption("dist", "no") != "no"
    ):
        _collect(config)


def pytest_report_header(config: pytest.Config) -> list[str] | None:
    """Say what an audit does, and to whose code."""
    if not config.getoption("loopsafe") and not config.getoption("loopsafe_loops"):
        return None
    loops = config.getoption("loopsafe_loops")
    more = f", each that makes a loop over {loops} loops" if loops else ""
    from pytest_loopsafe._words.whose import TERRITORY  # only when it is used

    with TERRITORY.claimed(_claim(config)) as view:
        return [f"loopsafe: every test is watched{more}", f"loopsafe: {view.describe()}"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the markers before anything runs, and wake up if a test needs this plugin."""
    audit = bool(config.getoption("loopsafe") or config.getoption("loopsafe_loops"))
    needed = audit
    for item in items:
        if declared.NAME in item.keywords and item.get_closest_marker(declared.NAME) is not None:
            needed = True
            if not hasattr(config, "workerinput"):  # xdist takes that for a crash: told in the test
                from pytest_loopsafe._plugin import marker

                marker.marked(item)
        elif not needed and not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            needed = True
    if needed:
        _wake(config)


@pytest.fixture
def loopsafe_runner(request: pytest.FixtureRequest) -> LoopRunner:
    """Run a function over several event loops and fail on what is bound to the wrong one."""
    from pytest_loopsafe._plugin import marker  # only when it is used
    from pytest_loopsafe._plugin.fixtures.runner import LoopRunner

    session = _wake(request.config)
    item: Any = request.node
    return LoopRunner(
        marker.defaults(request.config, item),
        lambda run: session.started(item, run),
        session.last_word,
        session.own_adapters,
    )


@pytest.fixture
def loopsafe_celery(request: pytest.FixtureRequest) -> LoopsafeCelery:
    """Run Celery tasks in a real worker, and fail on what crosses its event loops."""
    if not hasattr(os, "fork"):
        pytest.fail(
            f"the fixture loopsafe_celery is not possible on {sys.platform}: its worker is a fork "
            "of the test process, and there is no os.fork() here; skip the test there, or run the "
            "task's function with loopsafe_runner",
            pytrace=False,
        )
    try:
        from pytest_loopsafe._plugin import marker  # only when it is used
        from pytest_loopsafe._plugin.fixtures.celery import (
            LoopsafeCelery,
            Workers,
        )
        from pytest_loopsafe._plugin.fixtures.patches import pending
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("celery", "kombu", "billiard"):
            pytest.fail(
                "the fixture loopsafe_celery needs Celery: pip install 'pytest-loopsafe[celery]'",
                pytrace=False,
            )
        if missing not in ("fcntl", "resource", "termios"):
            raise
        pytest.fail(
            f"the fixture loopsafe_celery is not possible here: Celery needs the module {missing}, "
            "which this Python does not have; run the task's function with loopsafe_runner",
            pytrace=False,
        )
    config = request.config
    session = _wake(config)
    item: Any = request.node
    if _WORKERS not in config.stash:
        config.stash[_WORKERS] = workers = Workers()
        config.add_cleanup(workers.stop)
    return LoopsafeCelery(
        marker.defaults(config, item),
        lambda run: session.started(item, run),
        config.stash[_WORKERS],
        lambda unasked: _celery_app(request, unasked=unasked),
        lambda: pending(request),
        config.getini("loopsafe_celery_broker"),
        config.getini("loopsafe_celery_backend"),
    )


def _celery_app(request: pytest.FixtureRequest, *, unasked: bool) -> Any:
    """The Celery app of the fixture `celery_app` where the test has it, else the ini option's.

    Args:
        request: the test's.
        unasked: whether to take the fixture of a test that has not asked for it, too. Celery's own
            plugin has one for everybody.
    """
    name = request.config.getini("loopsafe_celery_app")
    if "celery_app" in request.fixturenames or unasked:
        try:
            return request.getfixturevalue("celery_app")
        except pytest.FixtureLookupError:
            return None
    if not name:
        return None
    module, _, attribute = name.partition(":")
    try:
        import importlib

        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(
            f"ini option loopsafe_celery_app: {name!r} leads nowhere ({error}); give "
            "package.module:app"
        ) from None
    return found


@pytest.fixture
def loopsafe_redis() -> Iterator[str]:
    """The URL of an empty Redis behind a socket, which binds to a loop like a real one."""
    from pytest_loopsafe._plugin.fixtures import redis as redis_server  # only when it is used

    url = os.environ.get("LOOPSAFE_REDIS_URL")
    server = redis_server.external(url) if url else redis_server.embedded()
    try:
        address = server.__enter__()
    except redis_server.RedisUnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        yield address
    finally:
        server.__exit__(None, None, None)


def _wake(config: pytest.Config) -> LoopsafeSession:
    """Register the part that works during tests, once."""
    if _SESSION not in config.stash:
        from pytest_loopsafe._plugin.audit import Audit
        from pytest_loopsafe._plugin.looped import LoopedTests
        from pytest_loopsafe._plugin.progress import Progress
        from pytest_loopsafe._plugin.reporting import Reporting
        from pytest_loopsafe._plugin.session import LoopsafeSession

        # What tells of findings is loaded now: later the code may have taken all descriptors.
        from pytest_loopsafe._report import document, rendering, report  # noqa: F401
        from pytest_loopsafe._run import tracebacks  # noqa: F401
        from pytest_loopsafe._words import secret_values  # noqa: F401
        from pytest_loopsafe._words.whose import TERRITORY

        claim = _claim(config)
        TERRITORY.claim(claim)
        config.add_cleanup(lambda: TERRITORY.release(claim))
        loops = config.getoption("loopsafe_loops")
        session = LoopsafeSession(
            lambda text: _last_word(config, text),
            _adapters(config),
            config.stash.get(_BASELINE, None),
            Progress.of(config),
        )
        config.stash[_SESSION] = session
        parts: dict[str, object] = {
            "session": session,
            "looped": LoopedTests(session),
            "reporting": Reporting(session),
        }
        if config.getoption("loopsafe") or loops:
            audit = Audit(session, loops)
            parts |= {"makers": audit.makers, "audit": audit}
        for name, part in parts.items():
            config.pluginmanager.register(part, f"loopsafe-{name}")
        _warn_of_versions(config)
        if not hasattr(config, "workerinput"):
            _collect(config)
    return config.stash[_SESSION]


def _warn_of_versions(config: pytest.Config) -> None:
    """Say, once, which of the plugins around is of a version that this was never tried with."""
    from pytest_loopsafe._plugin import pytest_inside
    from pytest_loopsafe._report.report import LoopsafeWarning

    for text in pytest_inside.untried(config):
        with contextlib.suppress(LoopsafeWarning):  # where warnings are errors, it ends no session
            config.issue_config_time_warning(LoopsafeWarning(text), stacklevel=2)


def _baseline(config: pytest.Config) -> Baseline:
    from pytest_loopsafe._plugin.baseline import Baseline, BaselineError  # only when it is used

    path = config.getoption("loopsafe_baseline")
    update = config.getoption("loopsafe_update_baseline")
    try:
        return Baseline(Path(path), config.rootpath, update=update)
    except BaselineError as error:
        raise pytest.UsageError(f"--loopsafe-baseline={path}: {error}") from None


def _claim(config: pytest.Config) -> Claim:
    from pytest_loopsafe._plugin import marker
    from pytest_loopsafe._words.whose import Claim

    return Claim(str(config.rootpath), marker.own_code(config))


def _adapters(config: pytest.Config) -> tuple[Adapter, ...]:
    """The adapters that conftest files and plugins give, checked."""
    from pytest_loopsafe._adapters.base import Adapter

    found: list[Adapter] = []
    for given in config.hook.pytest_loopsafe_adapters(config=config):
        for one in given or ():
            if not isinstance(one, Adapter):
                raise pytest.UsageError(
                    f"pytest_loopsafe_adapters returned {one!r}: give instances of "
                    "pytest_loopsafe.Adapter"
                )
            found.append(one)
    return tuple(found)


def _collect(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("loopsafe-collector"):
        return
    from pytest_loopsafe._plugin.collector import LoopsafeCollector

    collector = LoopsafeCollector(
        config,
        config.stash[_OUTPUTS],
        config.stash.get(_BASELINE, None),
        lambda text: _last_word(config, text),
    )
    config.pluginmanager.register(collector, "loopsafe-collector")


def _last_word(config: pytest.Config, text: str) -> None:
    """Write past pytest's capturing, ``capsys`` too, for the process is about to end."""
    from pytest_loopsafe._run.last_words import to_stderr

    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend(in_=True)
    to_stderr(f"\n{text}")
