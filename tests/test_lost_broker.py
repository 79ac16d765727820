"""A broker or backend that stops answering ends a run with what was found, and a note; no hang."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import celery_project as project
import pytest
import servers

from pytest_loopsafe._workers import client, runs

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux' /proc")


@pytest.fixture
def redis() -> Iterator[tuple[str, int]]:
    """A Redis of the test's own, its URL and its process: it is stopped and goes on at the end."""
    try:
        with servers.redis_server() as url:
            port = url.rpartition(":")[2].partition("/")[0]
            pid = _process(f"redis-server 127.0.0.1:{port}")
            yield url, pid
            os.kill(pid, signal.SIGCONT)
    except servers.ServerMissingError as missing:
        pytest.skip(str(missing))


def _process(title: str) -> int:
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if title.encode() in (folder / "cmdline").read_bytes().partition(b"\0")[0]:
                return int(folder.name)
    pytest.skip("LOOPSAFE_REDIS_URL names a server that is not for us to stop")


def test_one_that_answers_no_more_is_waited_for_once(
    loopsafe_celery: Any, redis: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, pid = redis
    monkeypatch.setattr(client, "TO_ANSWER", 0.5)
    monkeypatch.setattr(runs, "_TO_JUDGE", 0.5)

    @project.app.task(name="stop-the-broker", shared=False)
    def stop_the_broker() -> None:
        project.unsafe()
        project.unsafe()
        os.kill(pid, signal.SIGSTOP)

    began = time.monotonic()
    try:
        report = loopsafe_celery.run(
            stop_the_broker, times=3, timeout=1, broker=url, backend=url, check=False
        )
        assert time.monotonic() - began < 25
    finally:
        os.kill(pid, signal.SIGCONT)
        project.app.tasks.pop("stop-the-broker")

    assert "LS101" in [finding.code for finding in report.findings]
    assert any("the result backend did not answer" in note for note in report.notes)
    assert loopsafe_celery.run(project.safe).results == ("done",) * 3
