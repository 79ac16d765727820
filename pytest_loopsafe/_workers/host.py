"""A real Celery worker in a fork of the test process.

Not a thread (as ``celery.contrib.testing`` has it), for then the pool's children would be forks of
a process with threads, the worker would have to change the app's configuration and the logging of
the test process, and its stop takes seconds. Not a fresh process either: it would have to import
the app by name, and tasks that a test module or a fixture defines would not be there. In a fork
all tasks are there, whatever is changed is changed there alone, and nothing is left behind.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.kinds import instances_of
from pytest_loopsafe._graph.view import all_loops
from pytest_loopsafe._probes.instrumentation import PROCESS
from pytest_loopsafe._spool.writer import RunRequest
from pytest_loopsafe._words import clock
from pytest_loopsafe._words.descriptors import numbers
from pytest_loopsafe._workers import WorkerError, broker
from pytest_loopsafe._workers.inherited import Inherited

READY_TIMEOUT = 20.0
_TO_SAY_SO = 2.0
_ROOM = 1 << 18
"""Bytes that a worker needs to start: its log, and what the pool locks with."""
STOP_TIMEOUT = 2.5
"""Seconds for a stop in order, which takes 1.0; after a child has died of violence, Celery waits
longer for what is not to come."""

POOLS = {
    "prefork": "forked children, Celery's default",
    "solo": "the worker's main thread",
    "threads": "threads of the worker",
}
"""The pools that a worker can be asked for."""


@dataclass(frozen=True)
class WorkerKind:
    """What makes two workers different.

    Attributes:
        pool: one of `POOLS`.
        concurrency: children or threads that run tasks.
        broker: a URL; None for the embedded one.
        backend: a URL; None for a folder.
    """

    pool: str = "prefork"
    concurrency: int = 1
    broker: str | None = None
    backend: str | None = None


class Worker:
    """One running worker.

    Args:
        app: the user's Celery app; it is not changed.
        kind: how the worker is to run.
        request: the first run; what its children do before their first task belongs to it.
        inherited: what it has from this process as it is now.

    Raises:
        WorkerError: it does not come up.
    """

    def __init__(
        self, app: Any, kind: WorkerKind, request: RunRequest, inherited: Inherited
    ) -> None:
        self.app = app
        self.kind = kind
        self.queue = "loopsafe" if kind.broker is None else f"loopsafe-{uuid.uuid4()}"
        self.tasks = frozenset(app.tasks)
        self.inherited = inherited
        self._open = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="loopsafe-celery-"))
        self._open.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.spool = self.folder / "spool"
        self.pid: int | None = None
        self._group: int | None = None
        self._is_asked = False
        try:
            for name in ("spool", "messages", "results"):
                (self.folder / name).mkdir()
            request.write(self.spool)
            self.pid = self._group = self._fork()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def broker_url(self) -> str:
        """Where messages go."""
        return self.kind.broker or broker.URL

    @property
    def backend_url(self) -> str:
        """Where results go."""
        return self.kind.backend or f"file://{self.folder / 'results'}"

    @property
    def transport_options(self) -> dict[str, Any]:
        """The broker's options."""
        if self.kind.broker is None:
            return broker.options(str(self.folder / "messages"), self.queue)
        return {"polling_interval": 0.005}

    def alive(self) -> bool:
        """Whether the worker still runs."""
        if self.pid is None:
            return False
        with suppress(ChildProcessError):
            pid, _ = os.waitpid(self.pid, os.WNOHANG)
            if pid == 0:
                return True
        self.pid = None
        return False

    def log(self) -> str:
        """The end of what the worker has logged."""
        with suppress(OSError):
            return (self.folder / "worker.log").read_text(encoding="utf-8", errors="replace")[
                -4000:
            ]
        return ""

    def _why_silent(self) -> str:
        """Why there is no log, where that can be told: on a full disk it could say nothing."""
        try:
            (self.folder / "is-there-room").write_bytes(bytes(_ROOM))
        except OSError as error:
            return f"(nothing, for {self.folder} cannot be written to: {error.strerror})"
        return "(nothing)"

    def how_it_died(self, pid: int) -> str:
        """What the main process said of a child's end, `` (signal 9 (SIGKILL))``; or nothing."""
        deadline = clock.now() + _TO_SAY_SO
        while True:
            found = re.findall(rf"pid:{pid} exited with '([^']*)'", self.log())
            if found or not self.alive() or clock.now() > deadline:
                return f" ({found[-1]})" if found else ""
            time.sleep(0.01)

    def ask_to_stop(self) -> None:
        """Begin to stop, without waiting."""
        if self.pid is not None and self.alive() and not self._is_asked:
            self._is_asked = True
            os.kill(self.pid, signal.SIGTERM)

    def stop(self) -> None:
        """Stop the worker and its children, in order if they let themselves, and clean up."""
        try:
            self.ask_to_stop()
            deadline = clock.now() + STOP_TIMEOUT
            while self.alive() and clock.now() < deadline:
                time.sleep(0.005)
        finally:  # Ctrl-C ends the wait, and no more: nobody else would clean up
            with self._open:
                self._kill()

    def _kill(self) -> None:
        if self._group is not None:
            # The group has the children, also those whose parent was too slow or is dead.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)
        if self.pid is not None:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self.pid = None

    def _fork(self) -> int | None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # what is in the buffers would else be printed twice
        with warnings.catch_warnings():
            # Python warns of forking where other threads run, as a server of the test's may. Only
            # this thread lives on, and it begins by leaving everything that it does not need.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            self._be_worker()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 0
        except BaseException:  # noqa: BLE001 - the end of a process: all goes to its log
            import traceback

            with (self.folder / "worker.log").open("a", encoding="utf-8") as file:
                traceback.print_exc(file=file)
        finally:
            os._exit(status)

    def _be_worker(self) -> None:
        """In the fork: take leave of the test, and be a worker until told to stop."""
        os.setpgid(0, 0)  # Ctrl-C in the terminal is for the test process
        PROCESS.leave()
        _cpython.forget_loops_of_parent()
        _let_go_of_what_is_the_parents()
        _default_warnings()
        from celery import platforms, signals

        from pytest_loopsafe._workers.invocations import Invocations

        platforms.set_pdeathsig("SIGKILL")  # never outlive the tests
        # The pool's shared memory lies in a folder that an ordinary end of the process removes.
        # This one ends at once, or is killed: have it in the folder that the tests remove.
        with suppress(AttributeError):
            multiprocessing.current_process()._config["tempdir"] = str(self.folder)  # type: ignore[attr-defined]
        for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
            os.environ.pop(name, None)
        os.environ.pop("CELERY_RESULT_BACKEND", None)
        # On macOS billiard starts a pool's children anew. These would not have a test's own tasks,
        # nor anybody who watches; and this process is a fork itself.
        if sys.platform == "darwin":
            billiard: Any = importlib.import_module("billiard")
            billiard.set_start_method("fork", force=True)
        self._configure()
        Invocations(self.spool, is_private=True).install()
        signals.worker_ready.connect(self._ready, weak=False)
        worker = self.app.Worker(
            hostname=f"loopsafe-{os.getpid()}@localhost",
            pool=self.kind.pool,
            concurrency=self.kind.concurrency,
            loglevel="INFO",
            logfile=str(self.folder / "worker.log"),
            redirect_stdouts=False,
            quiet=True,
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
            optimization="fair",
        )
        worker.start()

    def _configure(self) -> None:
        """Point the fork's copy of the app at this worker's broker and queue."""
        app = self.app
        # Connections that the test process has open are its own: forget them without closing.
        app._pool = None
        app.__dict__.pop("amqp", None)
        app._local = type(app._local)()
        app._backend_cache = None
        app.conf.update(
            broker_url=self.broker_url,
            broker_read_url=self.broker_url,
            broker_write_url=self.broker_url,
            broker_transport_options=self.transport_options,
            broker_connection_retry_on_startup=False,
            broker_connection_retry=False,
            result_backend=self.backend_url,
            task_always_eager=False,
            task_default_queue=self.queue,
            task_default_exchange=None,
            task_default_routing_key=None,
            task_queues=None,
            task_routes=None,
            worker_prefetch_multiplier=1,
        )
        app.set_current()

    def _ready(self, **_: Any) -> None:
        from celery.exceptions import WorkerShutdown

        def stop(*_: Any) -> None:
            raise WorkerShutdown(0)  # at once, and not when the wait for messages times out

        signal.signal(signal.SIGTERM, stop)
        (self.folder / "ready").touch()

    def _wait_until_ready(self) -> None:
        deadline = clock.now() + READY_TIMEOUT
        while not (self.folder / "ready").exists():
            if not self.alive():
                raise WorkerError(
                    f"the Celery worker did not start. It said:\n{self.log() or self._why_silent()}"
                )
            if clock.now() > deadline:
                raise WorkerError(
                    f"the Celery worker was not ready after {READY_TIMEOUT:g} s. It said:\n"
                    f"{self.log()}"
                )
            time.sleep(0.002)


def _let_go_of_what_is_the_parents() -> None:
    """Give up, in a fork, the ends of what only the parent goes on with.

    That is the sockets of servers and loops in its other threads, which are not here, and the
    pipes to its subprocesses. A copy of them would keep open what the parent closes, for as long
    as the worker lives, and whoever is at the other end would wait for the end in vain. All else
    is kept: it is what a real worker's children inherit.
    """
    sockets: dict[int, Any] = {}
    serving: set[Any] = set()
    for number in numbers():
        with suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as copy:
                address = copy.getsockname()
                # Of an Internet address, the port: what is accepted has another host than 0.0.0.0.
                sockets[number] = address[1] if isinstance(address, tuple) else address
                if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    serving.add(sockets[number])
    given_up = {number for number, served in sockets.items() if served in serving}
    for loop in all_loops():
        if _cpython.loop_thread(loop) not in (None, threading.get_ident()):
            given_up |= sockets.keys() & _cpython.watched_descriptors(loop)
    for one in instances_of(subprocess.Popen, gc.get_objects()):
        with suppress(AttributeError, ValueError):  # it was not started, or is closed
            streams = (one.stdin, one.stdout, one.stderr)
            given_up |= {stream.fileno() for stream in streams if stream and not stream.closed}
    with open(os.devnull, "r+b", buffering=0) as nothing:
        for number in given_up:
            # The number stays taken: whoever still has it here must not close something else.
            os.dup2(nothing.fileno(), number, inheritable=False)


def _default_warnings() -> None:
    """Python's own filters, which a worker has; a test's ``error`` is not meant for it."""
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    warnings.filterwarnings("ignore", message=r"(?s).*superuser privileges")
