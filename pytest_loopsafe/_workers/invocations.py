"""The inside of a worker: Celery's signals drive a recorder in each process that runs tasks.

Detectors are armed in the process that runs the tasks and only there: with the prefork pool right
after the fork, before the user's ``worker_process_init`` handlers, so that a loop which these make
is the child's own and one that was there before is the parent's.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery import signals

from pytest_loopsafe._spool.writer import SpoolError
from pytest_loopsafe._words.settings import parse_own
from pytest_loopsafe._words.whose import TERRITORY, Claim
from pytest_loopsafe._workers.recording import Recorder

VARIABLE = "LOOPSAFE_SPOOL"
OWN_VARIABLE = "LOOPSAFE_OWN"

_ENTRY = os.path.join("celery", "app", "trace.py")
"""The file of Celery's that calls a task."""


class Invocations:
    """Connects Celery's signals to this process's recorder.

    Args:
        folder: the spool.
        is_private: it is a temporary one of the tests' own.
    """

    def __init__(self, folder: Path, *, is_private: bool = False) -> None:
        self._folder = folder
        self._is_private = is_private
        self._main = os.getpid()
        self._recorder: Recorder | None = None
        self._prefork = True

    def install(self) -> None:
        """Listen from now on, for as long as this process and its children live."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)
        for signal, handler in (
            (signals.worker_init, self._worker_init),
            (signals.worker_ready, self._ready),
            (signals.worker_process_shutdown, self._exit),
            (signals.worker_shutdown, self._exit),
            (signals.task_prerun, self._prerun),
            (signals.task_postrun, self._postrun),
            (signals.before_task_publish, self._published),
        ):
            signal.connect(handler, weak=False)

    def _worker_init(self, sender: Any = None, **_: Any) -> None:
        """The main process is about to start: it runs tasks itself unless it forks for them."""
        pool = getattr(sender, "pool_cls", None)
        module = getattr(pool, "__module__", str(pool))
        self._prefork = "prefork" in module or "processes" in module
        if not self._prefork:
            self._start("worker")

    def _ready(self, **_: Any) -> None:
        """The pool has its children: say so where they are no forks of this process."""
        if self._prefork and not _forks():
            sys.stderr.write(
                f"pytest-loopsafe: on {sys.platform} the children of a prefork pool are started "
                "anew, and these are not watched: start the worker with --pool=solo or "
                "--pool=threads.\n"
            )

    def _forked(self) -> None:
        if self._recorder is not None:
            self._recorder.abandon()
            self._recorder = None
        if self._prefork and os.getppid() == self._main:
            self._start("worker child", forked_from=self._main)

    def _start(self, role: str, forked_from: int | None = None) -> None:
        try:
            self._recorder = Recorder(
                self._folder, role, forked_from, entry=_ENTRY, is_private=self._is_private
            )
            self._recorder.arm()
        except SpoolError as error:
            # A worker must not die of it: it serves people, and this is a watcher's trouble.
            sys.stderr.write(f"pytest-loopsafe: {error}. This worker is not watched.\n")

    def _prerun(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        if self._recorder is not None:
            self._recorder.began(str(getattr(task, "name", task)), task_id)

    def _postrun(self, retval: Any = None, state: Any = None, **_: Any) -> None:
        if self._recorder is not None:
            error = retval if isinstance(retval, BaseException) else None
            self._recorder.ended(str(state), error)

    def _published(self, sender: Any = None, headers: Any = None, **_: Any) -> None:
        if self._recorder is not None and headers and "id" in headers:
            self._recorder.published(str(sender), str(headers["id"]), headers.get("eta"))

    def _exit(self, **_: Any) -> None:
        if self._recorder is not None:
            self._recorder.exit()
            self._recorder = None


def _forks() -> bool:
    """Whether a pool that has been started forks: on Windows none can, on macOS billiard does not.

    To ask is to decide, so it is asked afterwards.
    """
    billiard: Any = importlib.import_module("billiard")
    return hasattr(os, "register_at_fork") and billiard.get_start_method() == "fork"


def own_code(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What ``LOOPSAFE_OWN`` says is the user's own code: packages and paths, with commas between.

    Where a worker is deployed there is no project beside it that its package could be known by.
    """
    return parse_own(one for one in environ.get(OWN_VARIABLE, "").split(",") if one.strip())


def install_from_environment() -> None:
    """Watch this worker, if ``LOOPSAFE_SPOOL`` says where to write.

    Raises:
        SystemExit: the variable names no folder that can be written to; the worker would else
            run for days and leave nothing.
    """
    if not os.environ.get(VARIABLE):
        sys.stderr.write(f"pytest-loopsafe: {VARIABLE} is not set: this worker is not watched.\n")
        return
    folder = Path(os.environ[VARIABLE]).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"{VARIABLE}={folder}: no such folder: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise SystemExit(f"{VARIABLE}={folder}: cannot be written to")
    TERRITORY.claim(Claim(os.getcwd(), own_code(os.environ)))  # before the fork: read once for all
    Invocations(folder).install()
