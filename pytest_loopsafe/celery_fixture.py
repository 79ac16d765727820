"""What the fixture ``loopsafe_celery`` gives to a test."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from pytest_loopsafe.report import LoopReport
from pytest_loopsafe.settings import Settings, SettingsError
from pytest_loopsafe.spool import RunRequest
from pytest_loopsafe.workers import broker
from pytest_loopsafe.workers.client import Client, app_of, signature_of
from pytest_loopsafe.workers.host import POOLS, Worker, WorkerKind, environment
from pytest_loopsafe.workers.runs import CeleryRun


class Workers:
    """The workers of a test session: one of each kind, kept until the session ends."""

    def __init__(self) -> None:
        self._workers: dict[tuple[int, WorkerKind], tuple[Worker, Client]] = {}
        self._open = ExitStack()
        self._known = False

    def get(
        self, app: Any, kind: WorkerKind, request: RunRequest, *, tasks: set[str], fresh: bool
    ) -> tuple[Worker, Client]:
        """A worker that knows these tasks and the environment as it is now.

        A running one is taken where it will do; else it is stopped and another is started.
        """
        key = id(app), kind
        if key in self._workers:
            worker, client = self._workers[key]
            if (
                not fresh
                and worker.alive()
                and tasks <= worker.tasks
                and worker.environ == environment()
            ):
                request.write(worker.spool)
                return worker, client
            self._stop(key)
        if not self._known:
            self._known = True
            self._open.enter_context(broker.known())
        worker = Worker(app, kind, request)
        try:
            client = Client(worker)
        except BaseException:
            worker.stop()
            raise
        self._workers[key] = worker, client
        return worker, client

    def stop(self) -> None:
        """Stop all of them."""
        with self._open:
            for worker, _ in self._workers.values():
                worker.ask_to_stop()
            for key in tuple(self._workers):
                self._stop(key)

    def _stop(self, key: tuple[int, WorkerKind]) -> None:
        worker, client = self._workers.pop(key)
        worker.stop()
        if worker.kind.broker is not None:
            client.forget_queue()


class LoopsafeCelery:
    """Runs Celery tasks in a real worker and reports what happens across its loops.

    Args:
        defaults: settings from the ini options.
        started: told of each run before it begins, so that nothing found is lost.
        workers: the session's workers.
        find_app: gives the project's app, or None where there is none; asked whether to look for
            what the test has not asked for too.
        broker: a URL; None for the embedded broker.
        backend: a URL; None for a folder.
    """

    def __init__(
        self,
        defaults: dict[str, Any],
        started: Callable[[CeleryRun], None],
        workers: Workers,
        find_app: Callable[[bool], Any],
        broker: str | None = None,
        backend: str | None = None,
    ) -> None:
        self._defaults = defaults
        self._started = started
        self._workers = workers
        self._find_app = find_app
        self._broker = broker
        self._backend = backend

    def run(
        self,
        task: Any,
        /,
        *args: Any,
        times: int | None = None,
        pool: str = "prefork",
        concurrency: int = 1,
        timeout: float | None = None,
        strict: bool | None = None,
        ignore: Iterable[str] = (),
        check: bool = True,
        fresh_worker: bool = False,
        app: Any = None,
        broker: str | None = None,
        backend: str | None = None,
        **kwargs: Any,
    ) -> LoopReport:
        """Run a task several times in the same worker, one call after another.

        With ``concurrency`` above 1 the calls are sent at once, and as many children (or threads)
        take them.

        Args:
            task: a task, its name, or a signature; a task whose own arguments have the names of
                those below has to be given as a signature.
            *args: for the task.
            times: how many calls; None: ``loopsafe_loops`` of the ini file, or 3.
            pool: ``prefork``, ``solo`` or ``threads``.
            concurrency: how many children or threads the worker has.
            timeout: seconds that one call may take; None: as the ini option says.
            strict: count warnings as errors.
            ignore: rules to leave out.
            check: raise what a test has to be failed for.
            fresh_worker: start a new worker, with the state that the test process has now.
            app: the Celery app; None: the project's.
            broker: a URL; None: as the ini option says, or the embedded broker.
            backend: a URL; None: as the ini option says, or a folder.
            **kwargs: for the task.

        Returns:
            The report. Each call is a pass, with the worker process and the task in its
            ``origin``.

        Raises:
            LoopSafetyError: for findings of severity error, with ``check``.
            SettingsError: a value is not allowed, or there is no app.
            WorkerError: the worker does not start.
            Exception: what the task raised, with ``check``.
        """
        __tracebackhide__ = True
        settings = self._settings(times, concurrency, timeout, strict, ignore)
        signature = signature_of(task, args, kwargs)
        run = self._prepare(
            [signature],
            settings,
            WorkerKind(_pool(pool), concurrency, broker or self._broker, backend or self._backend),
            app or self._app_of(task),
            fresh_worker,
        )
        copies = itertools.repeat(signature, settings.loops)
        return _checked(run.execute(copies, together=concurrency > 1), check)

    def delay_all(
        self,
        signatures: Iterable[Any],
        *,
        pool: str = "prefork",
        concurrency: int = 1,
        timeout: float | None = None,
        strict: bool | None = None,
        ignore: Iterable[str] = (),
        check: bool = True,
        fresh_worker: bool = False,
        app: Any = None,
        broker: str | None = None,
        backend: str | None = None,
    ) -> LoopReport:
        """Send a mix of signatures, chains, groups and chords, and wait until all has ended.

        What the tasks themselves send is waited for too, unless it is for a time beyond
        ``timeout``. Arguments and errors are those of `run`.

        Args:
            signatures: what to send, in this order, without waiting between.
            pool: as for `run`, like all that follow.
            concurrency: how many children or threads the worker has.
            timeout: seconds that one call may take.
            strict: count warnings as errors.
            ignore: rules to leave out.
            check: raise what a test has to be failed for.
            fresh_worker: start a new worker.
            app: the Celery app.
            broker: a URL.
            backend: a URL.
        """
        __tracebackhide__ = True
        given = [signature_of(one, (), {}) for one in signatures]
        if not given:
            raise SettingsError("signatures=[] is not allowed: give at least one")
        run = self._prepare(
            given,
            self._settings(None, concurrency, timeout, strict, ignore),
            WorkerKind(_pool(pool), concurrency, broker or self._broker, backend or self._backend),
            app or self._app_of(given[0]),
            fresh_worker,
        )
        return _checked(run.execute(given, together=True), check)

    def _app_of(self, task: Any) -> Any:
        """The app that the test or the ini file names, else the task's own, else any fixture's."""
        return self._find_app(False) or app_of(task) or self._find_app(True)

    def _settings(
        self,
        times: int | None,
        concurrency: int,
        timeout: float | None,
        strict: bool | None,
        ignore: Iterable[str],
    ) -> Settings:
        from pytest_loopsafe.marker import combined_ignores

        base = {name: value for name, value in self._defaults.items() if name != "schedule"}
        given = {"loops": times, "timeout": timeout, "strict": strict}
        try:
            return Settings.checked(
                **{
                    **base,
                    **{name: value for name, value in given.items() if value is not None},
                    "concurrency": concurrency,
                    "ignore": combined_ignores(base.get("ignore", ()), ignore),
                }
            )
        except SettingsError as error:
            raise SettingsError(str(error).replace("loops=", "times=")) from None

    def _prepare(
        self, signatures: list[Any], settings: Settings, kind: WorkerKind, app: Any, fresh: bool
    ) -> CeleryRun:
        if app is None:
            raise SettingsError(
                "loopsafe_celery knows no Celery app: give a task of it (not its name), define a "
                'fixture celery_app, set the ini option loopsafe_celery_app = "pkg.module:app", '
                "or pass app="
            )
        if not hasattr(app, "tasks") or not hasattr(app, "Worker"):
            raise SettingsError(f"app={app!r} is not allowed: give a Celery app")
        app.finalize()
        names = {name for signature in signatures for name in _names(signature)}
        unknown = names - set(app.tasks)
        if unknown:
            raise SettingsError(
                f"the app {app.main!r} has no task {', '.join(map(repr, sorted(unknown)))}: import "
                "the module that defines it, or give the app that it belongs to"
            )
        request = RunRequest(
            f"{os.getpid()}-{uuid.uuid4()}",
            settings.strict,
            tuple(str(one) for one in settings.ignore),
            settings.timeout,
        )
        worker, client = self._workers.get(app, kind, request, tasks=names, fresh=fresh)
        run = CeleryRun(worker, client, request, settings)
        self._started(run)
        return run


def _pool(pool: Any) -> str:
    if pool in POOLS:
        return str(pool)
    if pool in ("gevent", "eventlet"):
        raise SettingsError(
            f"pool={pool!r} is not allowed: {pool} runs all tasks in one thread and switches "
            "between them at any blocking call, so that asyncio finds one loop running inside "
            f"another; what is seen there is not to be judged. Give one of {', '.join(POOLS)}"
        )
    raise SettingsError(f"pool={pool!r} is not known: give one of {', '.join(POOLS)}")


def _names(signature: Any) -> Iterable[str]:
    """The names of all tasks in a signature, through chains, groups and chords."""
    parts = [
        *(signature.get("kwargs") or {}).get("tasks", ()),
        *_header(signature),
        *filter(None, [(signature.get("kwargs") or {}).get("body")]),
    ]
    kind = signature.get("subtask_type")
    if kind not in ("chain", "group", "chord"):
        return [signature["task"]]
    return [name for part in parts for name in _names(part)]


def _header(signature: Any) -> Iterable[Any]:
    header = (signature.get("kwargs") or {}).get("header", ())
    return header if isinstance(header, list | tuple) else [header]


def _checked(report: LoopReport, check: bool) -> LoopReport:
    __tracebackhide__ = True
    if check:
        from pytest_loopsafe.api import raise_outcome

        raise_outcome(report)
    return report
