"""What all tests share: asyncio has to be found as it was, and an application to test with."""

import asyncio
import gc
import importlib
import importlib.metadata
import os
import pkgutil
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
import servers

import pytest_loopsafe
from pytest_loopsafe._words.whose import TERRITORY, Claim

# Runs of pytest in this process forget the modules that they import. Ours, and extension modules
# that cannot be imported twice, are loaded before the first of them.
for _found in pkgutil.walk_packages(pytest_loopsafe.__path__, "pytest_loopsafe."):
    if _found.name in ("pytest_loopsafe.__main__", "pytest_loopsafe.celery"):
        continue  # programs: to import them is to run them
    try:
        importlib.import_module(_found.name)
    except ImportError:
        if find_spec("celery") is not None:
            raise
# Celery's modules keep state in each other: half of them from a run inside and half from here, a
# worker finds its tasks in neither.
for _name in ("uvloop", "redis.asyncio", "fakeredis", "celery.apps.worker"):
    try:
        importlib.import_module(_name)
    except ImportError:
        pass


def _read_once() -> None:
    """What is installed stays: each run inside reads the metadata of all of it, 50 ms of 200."""
    kinds = importlib.metadata.Distribution, importlib.metadata.PathDistribution
    for name in ("entry_points", "files", "metadata"):
        kind = next(one for one in reversed(kinds) if name in vars(one))
        setattr(kind, name, property(_remembered(vars(kind)[name].fget)))


def _remembered(read: Any) -> Any:
    known: dict[str, Any] = {}

    def remembered(dist: Any) -> Any:
        path = str(dist._path)
        if path not in known:
            known[path] = read(dist)
        return known[path]

    return remembered


_read_once()

_FIRST = ("test_celery", "test_celery_safe", "test_service_example")
"""A worker is a fork of all that there is, and so is each of its children: the less, the better."""
_LATE = (
    "test_adapters",
    "test_corpus",
    "test_documentation",
    "test_neighbours",
    "test_remedies",
    "test_servers",
)
"""They import large libraries, which every later test's searches have to read."""
_SERVERS = frozenset({"nats_url", "postgres_url", "redis_url"})


def _turn(item: pytest.Item) -> int:
    """Let the heap be small for as long as it can be."""
    if item.path.stem in _FIRST:
        return 0
    served = not _SERVERS.isdisjoint(getattr(item, "fixturenames", ()))
    if "examples" in item.path.parts:
        return 3
    return 2 if served or item.path.stem in _LATE else 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs much comes last, and what needs the same together."""
    items.sort(key=_turn)


def pytest_collection_finish() -> None:
    """Spare each collection of the tests' own the heap that the collected items are.

    Thousands of them are most of it, and every run under test and every test ends with a full
    collection: that was two thirds of the time.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Spare the next module what the ones before have loaded: it was half of the time, too."""
    if nextitem is not None and item.path != nextitem.path:
        gc.collect()
        gc.freeze()


@pytest.fixture
def thawed() -> Iterator[None]:
    """The whole heap can be searched, for tests of what is only found there."""
    gc.unfreeze()
    yield
    gc.collect(1)  # what the test has made; all of it would take longer than the test
    gc.freeze()


@pytest.fixture(scope="session")
def aside(pytestconfig: pytest.Config) -> tuple[str, ...]:
    """Options that keep out the plugins that this run keeps out: those that a test names itself."""
    return tuple(f"-p {one}" for one in pytestconfig.getini("addopts") if one.startswith("no:"))


@pytest.fixture
def with_anyio() -> bool:
    """Whether runs inside load anyio's plugin, half of what it takes to start one.

    A module overrides it whose tests are about that.
    """
    return False


@pytest.fixture
def pytester(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    aside: tuple[str, ...],
    with_anyio: bool,
) -> pytest.Pytester:
    """pytest's own; the runs inside load pytest-asyncio too, which warns of its own defaults."""
    options = [*aside] if with_anyio else [*aside, "-p no:anyio"]
    if find_spec("pytest_asyncio") is not None:
        options.append("-o asyncio_default_fixture_loop_scope=function")
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(options))
    # On a CI machine pytest prints its summary's lines whole: tests count what is said.
    for name in ("LOOPSAFE_REDIS_URL", "PYTEST_XDIST_WORKER", "CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return pytester


@pytest.fixture(autouse=True, scope="module")
def _only_these(request: pytest.FixtureRequest) -> Iterator[None]:
    """Of the tests' modules only the one that runs is the user's code.

    After each pass the user's data is walked over. That of all test modules together is as much as
    a large application has, and was most of what a test took.
    """
    here = request.path.name
    with TERRITORY.claimed(Claim(os.getcwd(), ("!*/tests/test_*.py", f"*/tests/{here}"))):
        yield


class _ExamplesAlone:
    """The same for the examples, whose own conftest is a part of what they show.

    With the tests' modules there is more than is looked at, and what is found depends on the order.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        if "examples" not in item.path.parts:
            return (yield)
        with TERRITORY.claimed(Claim(os.getcwd(), ("!*/tests/test_*.py", "*/examples/*"))):
            return (yield)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_ExamplesAlone(), "examples-alone")


@pytest.fixture(autouse=True)
def _let_go(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a broken application leaves open is collected here, and not in somebody else's test."""
    yield
    # Logged errors have tracebacks, these have frames, and the frames what was open in them.
    for when in ("setup", "call"):
        caplog.get_records(when).clear()
    caplog.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


_PER_CLASS_CACHES = frozenset(
    {"__abstractmethods__", "_abc_impl", "__weakref__", "__annotations__"}  # made when asked for
)


def _loop_classes(root: type) -> Iterator[type]:
    for cls in root.__subclasses__():
        yield cls
        yield from _loop_classes(cls)


def _watched() -> dict[Any, dict[str, Any]]:
    """The members of asyncio's modules and classes, and of all event loop classes."""
    owners: list[Any] = [os, threading.Thread, *_loop_classes(asyncio.AbstractEventLoop)]
    for name, module in tuple(sys.modules.items()):
        if name.partition(".")[0] == "asyncio" and isinstance(module, ModuleType):
            owners.append(module)
            owners += [
                member
                for member in tuple(vars(module).values())
                if isinstance(member, type) and member.__module__.startswith(("asyncio", "_asyn"))
            ]
    return {owner: _members(owner) for owner in owners}


def _members(owner: Any) -> dict[str, Any]:
    """All members of a class, and the functions and classes of a module."""
    return {
        name: value
        for name, value in tuple(vars(owner).items())
        if name not in _PER_CLASS_CACHES and (isinstance(owner, type) or callable(value))
    }


@pytest.fixture(autouse=True)
def asyncio_is_left_as_it_was() -> Iterator[None]:
    """After every test asyncio has exactly the attributes that it had: nothing stays patched."""
    before = _watched()
    yield
    changed = []
    for owner, members in before.items():
        now = _members(owner)
        changed += [
            f"{owner.__name__}.{name}"
            for name in members.keys() | now.keys()
            if members.get(name, _ABSENT) is not now.get(name, _ABSENT)
        ]
    assert not changed, f"left patched: {', '.join(sorted(changed))}"
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None:
        tools = [monitoring.get_tool(number) for number in range(6)]
        assert "pytest-loopsafe" not in tools, "a tool id of sys.monitoring was not given back"


_ABSENT = object()

_APP = """
    import asyncio

    connection = None
    channel = None

    async def publish():
        '''Await in every later loop what the first one made, and hide the error.'''
        global connection
        if connection is None:
            connection = asyncio.get_running_loop().create_future()
            return "sent"
        try:
            await connection
        except RuntimeError:
            return "lost"

    async def publish_loudly():
        '''The same, and let the error out.'''
        global channel
        if channel is None:
            channel = asyncio.get_running_loop().create_future()
            return "sent"
        await channel

    async def greet():
        '''Do nothing wrong.'''
        await asyncio.sleep(0)
        return "hello"

    class Handle:
        '''Closes itself when it is collected, which is too late if its loop has ended.'''

        def __init__(self):
            self._loop = asyncio.get_running_loop()

        def __del__(self):
            try:
                self._loop.call_soon(int)
            except RuntimeError:
                pass

    def leave_open():
        '''Make a Handle and drop it after its loop has ended: a warning (LS303).'''
        async def make():
            return Handle()

        asyncio.run(make())
"""


@pytest.fixture
def app(pytester: pytest.Pytester) -> pytest.Pytester:
    """A pytester with a module ``app``: safe and unsafe async code to call."""
    pytester.makepyfile(app=_APP)
    return pytester


# -- real servers, started for the first test that asks for one --------------------------------


def _serving(server: AbstractContextManager[str]) -> Iterator[str]:
    try:
        with server as url:
            yield url
    except servers.ServerMissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis; what a test finds in it, an earlier test has left."""
    yield from _serving(servers.redis_server())


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL; tables and databases should have a test's own names."""
    yield from _serving(servers.postgres_server())


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """A NATS; subjects should be a test's own."""
    yield from _serving(servers.nats_server())
