"""Seeing what is given to thread pools, and which pools loops have for their own.

A loop takes the pool that it was given by ``set_default_executor()`` for its own, and shuts it down
when it ends: ``asyncio.run()`` by ``shutdown_default_executor()``, ``close()`` without waiting.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import BuiltinMethodType, CodeType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._probes.tasks import called_code
from pytest_loopsafe._words.ways import LetGo


@dataclass(frozen=True)
class DefaultPoolSet(Sighting):
    """A pool was made the default executor of a loop."""

    loop: asyncio.AbstractEventLoop
    pool: Any


@dataclass(frozen=True)
class DefaultPoolEnding(Sighting):
    """A loop is about to shut its default executor down; ``close()`` does so too."""

    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class JobGiven(Sighting):
    """``run_in_executor`` gave `job` to a pool of threads.

    Attributes:
        loop: the loop.
        job: what the pool works on.
        future: what the loop's own code waits for.
        code: the code of the function that is called; None where it is no plain one.
        by_default: whether the pool is the loop's default one.
    """

    loop: asyncio.AbstractEventLoop
    job: Any
    future: Any
    code: CodeType | None
    by_default: bool


@dataclass(frozen=True)
class JobRefused(Sighting):
    """A pool of threads that was shut down was given work."""

    pool: Any
    error: BaseException
    let_go: LetGo


@dataclass(frozen=True)
class JobStranded(Sighting):
    """A pool took work, and none of its threads is there: the process was forked since."""

    pool: Any


class ExecutorProbe:
    """Sees the jobs of ``ThreadPoolExecutor``, and whose default one each is."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook ``submit``, and what loops do with pools."""
        given = threading.local()

        def build_submit(original: Callable[..., Any]) -> Callable[..., Any]:
            def submit(self: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                try:
                    job = original(self, *args, **kwargs)
                except RuntimeError as error:
                    if _cpython.is_shut(self):
                        let_go = LetGo()
                        _dies_with_the_error = let_go.sentinel()
                        emit(JobRefused(self, error, let_go))
                    raise
                if getattr(given, "asked", False):
                    given.job = job
                if _cpython.is_deserted(self):
                    emit(JobStranded(self))
                return job

            return submit

        def build_run(original: Callable[..., Any]) -> Callable[..., Any]:
            def run_in_executor(self: Any, executor: Any, func: Any, *args: Any) -> Any:
                __tracebackhide__ = True
                given.asked, given.job = True, None
                try:
                    future = original(self, executor, func, *args)
                finally:
                    given.asked, job, given.job = False, given.job, None
                if job is not None:
                    code = _code_of(func, args)
                    emit(JobGiven(self, job, future, code, executor is None))
                return future

            return run_in_executor

        def build_set(original: Callable[..., Any]) -> Callable[..., Any]:
            def set_default_executor(self: Any, executor: Any) -> Any:
                __tracebackhide__ = True
                original(self, executor)
                emit(DefaultPoolSet(self, executor))

            return set_default_executor

        def build_shutdown(original: Callable[..., Any]) -> Callable[..., Any]:
            def shutdown_default_executor(self: Any, *args: Any, **kwargs: Any) -> Any:
                emit(DefaultPoolEnding(self))
                return original(self, *args, **kwargs)

            return shutdown_default_executor

        patches.replace(concurrent.futures.ThreadPoolExecutor, "submit", build_submit)
        patches.on_loop_classes("run_in_executor", build_run, inherited=True)
        patches.on_loop_classes("set_default_executor", build_set, inherited=True)
        patches.on_loop_classes("shutdown_default_executor", build_shutdown, inherited=True)


def _code_of(function: Any, args: tuple[Any, ...]) -> CodeType | None:
    """The code of what a job calls: also behind a ``partial`` and `to_thread`'s ``Context.run``."""
    for _ in range(_DEEP):
        if type(function) is functools.partial:
            function, args = function.func, (*function.args, *args)
        elif type(function) is BuiltinMethodType and args:
            function, args = args[0], args[1:]
        else:
            return called_code(function)
    return None


_DEEP = 5
