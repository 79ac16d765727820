"""The stage on which the revisions play: a Redis, the web server, a browser, a worker process.

All of it is real but small: sockets on the loopback interface, threads instead of machines.
Each part is a context manager that closes what it opened.
"""

import gc
import importlib
import json
import logging
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import redis
import uvicorn
from websockets.sync.client import ClientConnection, connect

from roadmap import settings
from roadmap.revisions import IN_ORDER
from roadmap.tasks import STEPS, celery_app
from roadmap.web import app

TOPICS = ("Python", "asyncio", "Redis")
SENT = len(TOPICS) * len(STEPS)
DEADLINE = 20.0


@contextmanager
def redis_server() -> Iterator[str]:
    """A Redis of our own, over a real socket. The in-memory fake would hide every bug here."""
    from fakeredis import TcpFakeServer

    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, name="redis", daemon=True)
    thread.start()
    try:
        host, port = server.server_address[:2]
        yield f"redis://{host!s}:{port}/0"
    finally:
        server.shutdown()
        thread.join(DEADLINE)
        server.server_close()


@contextmanager
def web_server() -> Iterator[str]:
    """The FastAPI app, served by uvicorn in a thread, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        server = uvicorn.Server(
            uvicorn.Config(
                app, loop="asyncio", ws="websockets-sansio", lifespan="off", log_level="warning"
            )
        )
        thread = threading.Thread(target=server.run, args=([listener],), name="web", daemon=True)
        thread.start()
        try:
            yield f"ws://{host}:{port}/progress"
        finally:
            server.should_exit = True
            thread.join(DEADLINE)


class Browser:
    """A browser that watches the progress of all roadmaps."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def notifications(self) -> list[str]:
        """What has come since the last call, as ``roadmap step``; nothing is still on its way.

        A last message is sent after all others and waited for: Redis keeps their order.
        """
        with redis.Redis.from_url(settings.redis_url()) as client:
            client.publish(settings.CHANNEL, json.dumps({"step": "end"}))
        return [f"{one['roadmap']} {one['step']}" for one in self._expect("end")]

    def _expect(self, step: str) -> list[dict[str, Any]]:
        before: list[dict[str, Any]] = []
        while (message := json.loads(self._connection.recv(DEADLINE)))["step"] != step:
            before.append(message)
        return before

    def wait_until_listening(self) -> None:
        """Return when every later notification will be forwarded."""
        self._expect("listening")


@contextmanager
def open_browser(url: str) -> Iterator[Browser]:
    """A browser that is connected and listening, and gone without a trace at the end."""
    with connect(url, open_timeout=DEADLINE) as connection:
        browser = Browser(connection)
        browser.wait_until_listening()
        yield browser
    with redis.Redis.from_url(settings.redis_url()) as client:
        wait_until(lambda: client.pubsub_numsub(settings.CHANNEL)[0][1] == 0)


def open_connections() -> int:
    """How many connections Redis has, without the one that asks."""
    with redis.Redis.from_url(settings.redis_url()) as client:
        return len(client.client_list()) - 1


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it does not hold by the deadline.
    """
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come true")
        time.sleep(0.005)


@contextmanager
def environment(redis_url: str) -> Iterator[None]:
    """The settings, for as long as the block lasts, with a new folder for the checkpoints."""
    with TemporaryDirectory(prefix="roadmap-") as folder:
        values = {"ROADMAP_REDIS_URL": redis_url, "ROADMAP_CHECKPOINTS": folder}
        saved = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in saved.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextmanager
def worker_process(revision: str) -> Iterator[ModuleType]:
    """A revision's module, imported anew, as in a worker process that has just started.

    At the end all that it left open is cleared away without a word, as the end of a process
    does it. Broken revisions leave a lot.
    """
    assert revision in IN_ORDER
    name = f"roadmap.revisions.{revision}"
    module = importlib.import_module(name)
    try:
        yield module
    finally:
        del sys.modules[name]
        # Celery would hand out the old task, with the old globals, when the name comes again.
        celery_app.tasks.pop(f"{name}.generate_roadmap", None)
        if loop := getattr(module, "_worker_loop", None):
            loop.close()
        vars(module).clear()
        _collect_quietly()


def _collect_quietly() -> None:
    hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    finally:
        sys.unraisablehook = hook


@contextmanager
def failure_log() -> Iterator[list[str]]:
    """The errors that the notifier logs instead of raising them, as text."""
    errors: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            errors.append(str(record.exc_info[1]) if record.exc_info else record.getMessage())

    handler = Keep()
    logger = logging.getLogger("roadmap.notifier")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield errors
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def run_tasks(worker: ModuleType, topics: Sequence[str] = TOPICS) -> list[object]:
    """Run the task once for each topic, one after another: the lessons, or what was raised."""
    outcomes: list[object] = []
    for topic in topics:
        try:
            outcomes.append(worker.generate_roadmap(topic.lower(), topic))
        except Exception as error:
            outcomes.append(error.with_traceback(None))
    return outcomes
