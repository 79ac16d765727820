"""Seeing a run that is refused since a loop runs in this thread, and what its coroutine comes to.

A refusal is told by what did not happen, and by no text: a loop runs in this thread, the call ends
with a RuntimeError, and the coroutine that it was given has not begun. asyncio's own checks, those
of uvloop and those of anybody's loop class are all told so.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from asyncio import runners
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import CodeType, CoroutineType, FrameType
from typing import Any, TypeAlias

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.begins import given_to
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._words.attributes import is_just_a
from pytest_loopsafe._words.stacks import is_own, local_variables
from pytest_loopsafe._words.texts import bases_of

Coroutine: TypeAlias = "CoroutineType[Any, Any, Any]"


class Awaited:
    """A coroutine that was to run, without keeping it.

    Attributes:
        code: what it runs.
        name: what it is called, as its function was where it was defined.
        names: what its function is called where it is called.
        given: what it was given.
        ref: the coroutine.
        ended_unbegun: it has ended before it began, and nobody had closed it.
    """

    __slots__ = ("code", "ended_unbegun", "given", "name", "names", "ref")

    def __init__(self, coroutine: Coroutine) -> None:
        self.code = coroutine.cr_code
        self.name = coroutine.__qualname__
        self.names = coroutine.__name__, coroutine.cr_code.co_name
        self.given = given_to(coroutine.cr_frame) if coroutine.cr_frame is not None else None
        self.ref = weakref.ref(coroutine)
        self.ended_unbegun = False

    def ends(self, coroutine: Coroutine) -> None:
        """The one at its address ends unbegun: itself, if no weak reference leads to another.

        They are gone by now; but from 3.15 on not yet where the collector ends it.
        """
        is_it = self.ref() is None or self.ref() is coroutine
        self.ended_unbegun = self.code is coroutine.cr_code and is_it


@dataclass(frozen=True)
class RunRefused(Sighting):
    """A run was refused.

    Attributes:
        running: the loop that runs in this thread, as asyncio has it.
        refused: the loop that was to run; None where it was still to be made.
        call: what refused.
        awaited: the coroutines that were to run, each with those that it was given.
        error: what was raised.
    """

    running: asyncio.AbstractEventLoop
    refused: asyncio.AbstractEventLoop | None
    call: str
    awaited: tuple[Awaited, ...]
    error: BaseException


@dataclass(frozen=True)
class Expected(Sighting):
    """A test has said that it expects an error, and here it is: ``pytest.raises`` and the like.

    It is `named` where the test expects nothing but errors such as asyncio refuses with, or kinds
    of these, and not whatever may go wrong.
    """

    error: BaseException
    named: bool = False


@dataclass(frozen=True)
class RunsInGreenlet(Sighting):
    """A loop begins to run in a greenlet, which may be switched away from while it runs."""

    loop: asyncio.AbstractEventLoop


_EXPECTING = (
    ("_pytest.raises", "RaisesExc"),
    ("_pytest.raises", "RaisesGroup"),
    ("_pytest.python_api", "RaisesContext"),
    ("unittest.case", "_AssertRaisesContext"),
)
"""Context managers by which a test says what it expects, of each version. None is imported."""

_MOST_TASKS = 20
_MOST_REFUSED = 2_000
_MOST_GIVEN = 20


class RefusalProbe:
    """Sees refusals, and coroutines that end before they have begun."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook ``asyncio.run``, the Runner, the two ways to run a loop, and the warning.

        The collector may end a coroutine while we look at something else, when nothing is emitted.
        So that is noted here, by the address, of those that were refused last.
        """
        last: dict[int, Awaited] = {}

        def refused(error: BaseException, running: Any, loop: Any, call: str, given: Any) -> None:
            found = tuple(one for main in given for one in _unbegun(main))
            if len(last) >= _MOST_REFUSED:  # most of them ran, and nobody says when those end
                last.clear()
            awaited = tuple(map(Awaited, found))
            last.update(zip(map(id, found), awaited, strict=True))
            if awaited:
                emit(RunRefused(running, loop, call, awaited, error))

        def build_run(original: Callable[..., Any]) -> Callable[..., Any]:
            def run(main: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                running = _cpython.get_running_loop()
                try:
                    return original(main, *args, **kwargs)
                except RuntimeError as error:
                    if running is not None:
                        refused(error, running, None, "asyncio.run()", (main,))
                    raise

            return run

        def build_runner(original: Callable[..., Any]) -> Callable[..., Any]:
            def run(self: Any, coro: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                running = _cpython.get_running_loop()
                try:
                    return original(self, coro, *args, **kwargs)
                except RuntimeError as error:
                    if running is not None:
                        refused(error, running, None, "Runner.run()", (coro,))
                    raise

            return run

        def build_until(original: Callable[..., Any]) -> Callable[..., Any]:
            def run_until_complete(self: Any, future: Any) -> Any:
                __tracebackhide__ = True
                running = _cpython.get_running_loop()
                try:
                    return original(self, future)
                except RuntimeError as error:
                    if running is not None and not self.is_closed():
                        refused(error, running, self, "run_until_complete()", (future,))
                    raise

            return run_until_complete

        until: Any = build_until(print)

        def build_forever(original: Callable[..., Any]) -> Callable[..., Any]:
            def run_forever(self: Any) -> Any:
                __tracebackhide__ = True
                if _in_greenlet():
                    emit(RunsInGreenlet(self))
                # Before: on 3.13 to be refused takes the mark away that a loop runs here.
                running = _cpython.get_running_loop()
                try:
                    return original(self)
                except RuntimeError as error:
                    # uvloop's run_until_complete() refuses nothing itself, and comes here.
                    by_other = _is_called_by(until.__code__)
                    if running is not None and not self.is_closed() and not by_other:
                        refused(error, running, self, "run_forever()", _tasks_to_come(self))
                    raise

            return run_forever

        def build_unawaited(original: Callable[..., Any]) -> Callable[..., Any]:
            @_cpython.unseen_by_warnings
            def _warn_unawaited_coroutine(coro: Any) -> Any:
                awaited = last.pop(id(coro), None)
                if awaited is not None:
                    awaited.ends(coro)
                return original(coro)

            replacement: Callable[..., Any] = _warn_unawaited_coroutine
            return replacement

        def build_expecting(original: Callable[..., Any]) -> Callable[..., Any]:
            def __exit__(self: Any, kind: Any, error: Any, trace: Any) -> Any:  # noqa: N807
                __tracebackhide__ = True
                expected = original(self, kind, error, trace)
                if expected is True and error is not None:
                    emit(Expected(error, _names_refusals(self)))
                return expected

            return __exit__

        for owner in (asyncio, runners):
            patches.replace(owner, "run", build_run)
        patches.replace(asyncio.Runner, "run", build_runner)
        patches.on_loop_classes("run_until_complete", build_until, inherited=True)
        patches.on_loop_classes("run_forever", build_forever, inherited=True)
        patches.replace(*_cpython.UNAWAITED, build_unawaited)
        for module, name in _EXPECTING:
            patches.when_imported(
                module, name, lambda kind: patches.replace(kind, "__exit__", build_expecting)
            )


def _names_refusals(expecting: Any) -> bool:
    """Whether a context manager of a test's lets only errors pass such as a refusal is."""
    own = vars(expecting)
    kinds = next((own[name] for name in _KINDS if name in own), ())
    return _are_refusals(kinds if type(kinds) is tuple else (kinds,))


def _are_refusals(kinds: tuple[Any, ...]) -> bool:
    return bool(kinds) and all(
        any(base is one for base in bases_of(kind) for one in _REFUSALS)
        if issubclass(type(kind), type)
        else _names_refusals(kind)  # within a group
        for kind in kinds
    )


_KINDS = ("expected_exceptions", "expected_exception", "expected")
_REFUSALS = (RuntimeError, ValueError)


def _unbegun(given: Any) -> Iterator[Coroutine]:
    """The coroutine of what was to run, if it has not begun, and those that it was given.

    A wrapper such as ``wait_for(save(), 5)`` is made anew for another try, and what it was given
    is not: as long as that one runs, nothing is lost.
    """
    coroutine = given.get_coro() if issubclass(type(given), asyncio.Task) else given
    if type(coroutine) is not CoroutineType or _cpython.has_begun(coroutine):
        return
    yield coroutine
    if coroutine.cr_frame is not None:
        for value in local_variables(coroutine.cr_frame).values():
            parts = value if is_just_a(value, (tuple, list)) else (value,)
            for part in islice(parts, _MOST_GIVEN):
                if type(part) is CoroutineType and not _cpython.has_begun(part):
                    yield part


def _tasks_to_come(loop: Any) -> list[Any]:
    """The tasks of a loop that does not run."""
    return [] if loop.is_running() else list(islice(_cpython.all_tasks(loop), _MOST_TASKS))


def _is_called_by(code: CodeType) -> bool:
    """Whether the function of ours that asks was called by another of ours, and by nobody else."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and is_own(frame.f_code.co_filename) and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None and frame.f_code is code


def _in_greenlet() -> bool:
    """Whether this runs in another greenlet than the thread's first one."""
    current = getattr(sys.modules.get("greenlet"), "getcurrent", None)
    return current is not None and current().parent is not None
