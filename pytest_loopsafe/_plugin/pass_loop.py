"""The loop of one pass, for the test's body and for the async fixtures around it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class PassLoop:
    """Runs coroutine after coroutine in the loop of one pass.

    With fixtures, all of them share one context: a context variable that a fixture sets is seen by
    the body, and can be reset by the fixture's end. What sync fixtures set is carried into it, and
    what async ones set is carried out.

    Args:
        runner: the pass's.
        one_task: whether to run all of it in one task, as anyio does: a task group or cancel scope
            that a fixture enters has to be left in the task that entered it.
        shares_context: False where no fixture is set up: then what runs has the Runner's own.
    """

    def __init__(self, runner: asyncio.Runner, *, one_task: bool, shares_context: bool) -> None:
        self._runner = runner
        self._context = contextvars.copy_context() if shares_context else None
        self._host = _Host() if one_task else None

    def run(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine until it is complete."""
        try:
            self._runner.get_loop()
        except BaseException:  # there is none, and no coroutine is to be left behind
            coro.close()
            raise
        if self._host is not None:
            coro = self._host.given(coro)
        if self._context is None:
            return self._runner.run(coro)
        self._context.run(_take_over, contextvars.copy_context())
        try:
            return self._runner.run(coro, context=self._context)
        finally:
            _take_over(self._context)

    def close(self) -> None:
        """End the one task; the loop's own end is the schedule's."""
        if self._host is not None and self._host.is_waiting:
            self._runner.run(self._host.ended(), context=self._context)

    def adapted(self, function: Callable[..., Any], request: pytest.FixtureRequest) -> Any:
        """An async fixture's function as a sync one, which does its work in this loop.

        Not with ``functools.wraps``, which would copy the marks by which pytest-asyncio knows its
        own; ``__wrapped__`` alone has pytest tell the user's place.
        """
        bound = _bound(function, request.instance)
        make = self._sync_function
        if inspect.isasyncgenfunction(function):
            make = self._generator
        elif inspect.iscoroutinefunction(function):
            make = self._function
        elif inspect.isgeneratorfunction(function):
            make = self._sync_generator
        adapted: Any = make(bound)
        adapted.__wrapped__ = function
        return adapted

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def fixture(**values: Any) -> Any:
            return self.run(function(**values))

        return fixture

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def fixture(**values: Any) -> Iterator[Any]:
            source = function(**values)
            try:
                value = self.run(_step(source, "__anext__"))
            except StopAsyncIteration:
                return  # pytest says that it did not yield a value
            yield value
            try:
                self.run(_step(source, "__anext__"))
            except StopAsyncIteration:
                return
            self.run(_step(source, "aclose"))
            name = function.__name__
            pytest.fail(f"the async fixture {name!r} has more than one yield", pytrace=False)

        return fixture

    def _sync_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def fixture(**values: Any) -> Any:
            with self._current():
                return function(**values)

        return fixture

    def _sync_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def fixture(**values: Any) -> Iterator[Any]:
            with self._current():
                yield from function(**values)

        return fixture

    @contextmanager
    def _current(self) -> Iterator[None]:
        """As pytest-asyncio has it for its sync fixtures: the loop is there to be asked for."""
        asyncio.set_event_loop(self._runner.get_loop())
        yield


class _Host:
    """One task that runs several coroutines, one after another."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._job: asyncio.Future[Any] | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether there is such a task, which waits for what to run next."""
        return self._task is not None and not self._task.done()

    async def given(self, coro: Any) -> Any:
        """Have a coroutine run in the task, and wait for it."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done():
            self._job = loop.create_future()
            self._serving: Any = self._serve()
            self._task = loop.create_task(self._serving)
        self._serving.__qualname__ = coro.__qualname__  # reports name a task by what it runs
        done = loop.create_future()
        assert self._job is not None
        self._job.set_result((coro, done))
        try:
            # Not shield(): from 3.14 on that logs an error which is raised here.
            await asyncio.wait((done,))
        except asyncio.CancelledError:
            if not done.done() and not self._task.done():  # it is this here that was cancelled
                self._task.cancel()
                return await done
            if done.done() and not done.cancelled():
                done.exception()  # it is known: nobody need be told that it was never asked for
            raise
        return await done

    async def ended(self) -> None:
        """End the task."""
        assert self._job is not None
        assert self._task is not None
        self._job.set_result(None)
        await self._task

    async def _serve(self) -> None:
        assert self._job is not None
        while (job := await self._job) is not None:
            self._job = asyncio.get_running_loop().create_future()
            coro, done = job
            try:
                value = await coro
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                if not done.cancelled():
                    done.set_exception(error)
            else:
                if not done.cancelled():
                    done.set_result(value)


def _step(source: Any, name: str) -> Any:
    """One step of an async generator, as a coroutine with the generator's name."""

    async def step() -> Any:
        return await getattr(source, name)()

    coro: Any = step()
    coro.__qualname__ = source.__qualname__
    return coro


def _bound(function: Callable[..., Any], instance: Any) -> Callable[..., Any]:
    """A fixture method, bound to the test's instance: pytest bound it to one of its own."""
    if inspect.ismethod(function) and isinstance(instance, type(function.__self__)):
        rebound: Callable[..., Any] = function.__func__.__get__(instance)
        return rebound
    return function


def _take_over(context: contextvars.Context) -> None:
    for variable, value in context.items():
        if variable.get(_take_over) is not value:
            variable.set(value)
