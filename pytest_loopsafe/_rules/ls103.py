"""LS103: something was scheduled on, or written through, a closed loop.

Also the part of LS303 that only a finalizer notices: an object that was left open is collected
later, and its clean-up meets a closed loop. That is the leftover's fault, not a call's.
"""

from __future__ import annotations

import asyncio
import functools
import operator
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.bindings import is_transport
from pytest_loopsafe._probes.connections import WRITES, ConnectionDriven, ConnectionProbe
from pytest_loopsafe._probes.handlers import PASSES, calls_nothing_else, does_otherwise, outcome
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._rules.base import Detector, loop_births
from pytest_loopsafe._rules.ls303 import LEFT_OPEN
from pytest_loopsafe._words.finalizers import in_finalizer
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.naming import name_loop
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import (
    Stack,
    is_library,
    is_stdlib,
    live_frames,
    module_file,
    stack_here,
    users_here,
)
from pytest_loopsafe._words.ways import Fate, LetGo, Point, Way, way_here
from pytest_loopsafe._words.weak import Ref, nowhere, weak

CALL = Rule(
    "LS103",
    "closed-loop-call",
    Severity.ERROR,
    "something was scheduled on, or written through, a closed loop",
    "Close what belongs to a loop before that loop ends (`async with` within the function given "
    "to asyncio.run()); from a later loop it can no longer be closed in order. Make a new one in "
    "the new loop.",
)


@dataclass(frozen=True)
class ClosedLoopCall(Sighting):
    """A closed loop was called.

    `error` is what it raised, None where nothing was raised; `let_go` tells who had that last.
    """

    loop: asyncio.AbstractEventLoop
    running: asyncio.AbstractEventLoop | None
    method: str
    error: BaseException | None = None
    let_go: LetGo | None = None


@dataclass(frozen=True)
class AskedOfRefusal(Sighting):
    """Code that handles an error asked a loop whether it is closed, and it is."""

    loop: asyncio.AbstractEventLoop
    error: BaseException
    code: CodeType


@dataclass(frozen=True)
class Posted(Sighting):
    """A loop took what code handed over; told only once a loop has refused some."""

    loop: asyncio.AbstractEventLoop
    code: CodeType


_POST = "call_soon_threadsafe"
_SCHEDULING = (
    _POST,
    "call_later",
    "call_at",
    "create_task",
    "run_in_executor",
    "run_until_complete",
    "run_forever",
    "add_reader",
    "add_writer",
)


class ClosedLoopProbe:
    """Sees every refusal of a closed loop."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook asyncio's own check; for other loops, the public methods that refuse."""
        is_closed = operator.attrgetter(_cpython.CLOSED_MARK)
        refused: list[str] = []  # not empty once a loop has refused what was posted to it
        patches.when_armed(refused.clear)

        def emit_refusal(loop: Any, method: str, error: BaseException, let_go: LetGo) -> None:
            if method == _POST:
                refused[:] = [method]
            emit(ClosedLoopCall(loop, _cpython.get_running_loop(), method, error, let_go))

        def build_check(original: Callable[..., Any]) -> Callable[..., Any]:
            # Called on each call_soon. An open loop is answered here, at the original's own price.
            def _check_closed(self: Any) -> Any:
                if not is_closed(self):
                    return None
                __tracebackhide__ = True
                try:
                    return original(self)
                except RuntimeError as error:
                    method, let_go = sys._getframe(1).f_code.co_name, LetGo()
                    _dies_with_the_error = let_go.sentinel()
                    emit_refusal(self, method, error, let_go)
                    raise

            return _check_closed

        def build_is_closed(original: Callable[..., Any]) -> Callable[..., Any]:
            def is_closed(self: Any) -> Any:
                answer = original(self)
                error = sys.exc_info()[1] if answer is True else None
                if error is not None:
                    emit(AskedOfRefusal(self, error, sys._getframe(1).f_code))
                return answer

            return is_closed

        def build_post(original: Callable[..., Any]) -> Callable[..., Any]:
            def call_soon_threadsafe(self: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                handle = original(self, *args, **kwargs)
                if refused:
                    emit(Posted(self, _caller(sys._getframe(1))))
                return handle

            return call_soon_threadsafe

        patches.replace(*_cpython.CLOSED_CHECK, build_check)
        patches.on_loop_classes(_POST, build_post, inherited=True)
        patches.on_loop_classes("is_closed", build_is_closed, inherited=True)

        def build_method(original: Callable[..., Any]) -> Callable[..., Any]:
            name = original.__name__

            def method(self: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                try:
                    return original(self, *args, **kwargs)
                except RuntimeError as error:
                    if self.is_closed():
                        let_go = LetGo()
                        _dies_with_the_error = let_go.sentinel()
                        emit_refusal(self, name, error, let_go)
                    raise

            return method

        for name in ("call_soon", *_SCHEDULING):
            patches.on_loop_classes(name, build_method, inherited=True, foreign_only=True)


class ClosedLoop(Detector):
    """LS103, and LS303 where a finalizer met the closed loop."""

    rules = (CALL, LEFT_OPEN)
    probes = (ClosedLoopProbe(), ConnectionProbe())
    judges = (ClosedLoopCall, ConnectionDriven, AskedOfRefusal, Posted)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Who asked, by the id() of the refusal and the number of the loop.
        self._asked: dict[tuple[int, int], list[CodeType]] = {}
        # Which later loop there was when a loop first refused what this code posted to it, by the
        # id() of the thread that it ran in.
        self._first: dict[tuple[int, CodeType, int], tuple[Ref, int]] = {}
        # The last of the loops that code posted to, whether that was taken or not.
        self._latest: dict[CodeType, int] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report the call with its stack; an expected refusal is taken back when all rests."""
        if isinstance(sighting, AskedOfRefusal):
            key = id(sighting.error), self.loops.of(sighting.loop).number
            self._asked.get(key, []).append(sighting.code)
            return
        if isinstance(sighting, Posted):
            self._post(self.loops.of(sighting.loop), sighting.code)
            return
        if isinstance(sighting, ConnectionDriven):
            if not sighting.loop.is_closed() or sighting.method not in WRITES:
                return
            if self.loops.of(sighting.loop).inherited:
                return  # LS402
            thing: Any = sighting.thing
            sighting = ClosedLoopCall(sighting.loop, sighting.running, "write")
        else:
            thing = next((one for one in users_here() if is_transport(type(one))), None)
        assert isinstance(sighting, ClosedLoopCall)
        frames = live_frames()
        home = self.loops.of(sighting.loop)
        running = self.loops.of(sighting.running) if sighting.running is not None else None
        if in_finalizer(frames):
            rule = LEFT_OPEN
            message = f"something of {home} was left open; its finalizer met the closed loop"
            title = "cleaned up by a finalizer"
        elif _is_late_answer(frames, sighting):
            return
        else:
            rule = CALL
            where = f"in {running}" if running else "outside any loop"
            if sighting.error is None:
                message = f"data was written {where} through a transport of {home}, which is closed"
            else:
                message = f"{sighting.method}() was called {where} on {home}, which is closed"
            title = f"{sighting.method}() on {name_loop(home, 'closed')}"
        error = sighting.error if rule is CALL else None
        way = way_here(frames, type(error), sighting.let_go) if error is not None else None
        asked = self._asked[id(error), home.number] = []
        caller = _caller(frames[-1])
        posts = error is not None and sighting.method == _POST and running is None
        goes_on = posts and self._goes_on(home, caller)
        yield Observation(
            Finding(
                rule,
                message,
                running,
                home,
                (Stack(title, stack_here()), *loop_births(home, running)),
                rule.remedy,
                home_state="closed",
            ),
            error,
            way,
            functools.partial(self._is_expected, way, asked, home, caller if goes_on else None)
            if way is not None
            else None,
            about=_about(thing, sighting.loop, frames) if rule is CALL else (),
        )

    def _post(self, loop: LoopInfo, code: CodeType) -> None:
        self._latest[code] = max(self._latest.get(code, loop.number), loop.number)

    def _goes_on(self, home: LoopInfo, code: CodeType) -> bool:
        """Whether a thread posts to a dead loop once more, in the time of yet another loop.

        A refusal is to be expected once: the loop has just ended, and the next does its work. A
        thread of its own for each post finds that out each time, and then it is gone.
        """
        self._post(home, code)
        thread, later = threading.current_thread(), self.loops.rerun_since(home)
        if later is None or thread is threading.main_thread():
            return False
        if len(self._first) > _MOST_POSTERS:
            self._first.clear()
        key = home.number, code, id(thread)
        ref, first = self._first.get(key, (nowhere, 0))
        if ref() is not thread:
            self._first[key] = weak(thread), later.number
            return False
        return first != later.number

    def _is_expected(
        self, way: Way, asked: list[CodeType], home: LoopInfo, poster: CodeType | None, fate: Fate
    ) -> bool:
        """Whether the code is prepared for a refusal, and does not go on without end."""
        if not _is_handled(way, asked, fate):
            return False
        if poster is None or self._latest.get(poster, home.number) > home.number:
            return True  # it posts to all loops that there ever were: one of them will hear it
        return any(point.code is fate.stayed_in and does_otherwise(point) for point in way.points)


_MOST_POSTERS = 10_000


def _caller(frame: FrameType | None) -> CodeType:
    """The code that called a loop, not counting what hands on within the standard library."""
    assert frame is not None
    while is_stdlib(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code


def _is_late_answer(frames: list[FrameType], sighting: ClosedLoopCall) -> bool:
    """``run_in_executor``'s own answer from its thread, which nobody waits for any more."""
    return (
        sighting.running is None
        and sighting.method == "call_soon_threadsafe"
        and all(is_stdlib(frame.f_code.co_filename) for frame in frames)
    )


def _is_handled(way: Way, asked: list[CodeType], fate: Fate) -> bool:
    """Whether the code is prepared for the refusal: the frame that handled it made the call.

    A thread cannot ask first: the loop may close between the question and the call. So catching
    the refusal is the only correct way, and code that does it is no bug. It counts in whichever
    way it is done, by ``except``, by a context manager entered there, around a function that does
    nothing else. ``except Exception`` is no decision but a net, and a handler further out one for
    all that may go wrong in between: that is how code goes on posting to a dead loop.

    Or it knows what it has caught, wherever that is: the handler asked the loop whether it is
    closed, and did something else with the error than to let it go on.
    """
    if fate.narrow is not False and any(
        point.code is fate.stayed_in for point in next_to_the_call(way)
    ):
        return True
    return any(point.code in asked and outcome(point, way.kind) != PASSES for point in way.points)


def next_to_the_call(way: Way) -> Iterator[Point]:
    """The frame that called the loop, and its callers as long as it does nothing else."""
    for point in way.points:
        if point.code.co_filename in _HANDING_ON:
            continue
        yield point
        if not calls_nothing_else(point):
            return


_HANDING_ON = frozenset(map(module_file, ("asyncio.base_events", "asyncio.tasks")))
"""Where asyncio hands on what it was given: the loop's methods, ``run_coroutine_threadsafe``."""


def _about(thing: Any, loop: asyncio.AbstractEventLoop, frames: list[FrameType]) -> tuple[Any, ...]:
    """What was used: a transport; or the loop itself, where the user's own code called that.

    Where a library called it, the loop is not what the user knows: a client of theirs is, whose
    method was at work.
    """
    if thing is not None:
        return (thing,)
    caller = next((one for one in reversed(frames) if not is_stdlib(one.f_code.co_filename)), None)
    by_user = caller is None or not is_library(caller.f_code.co_filename)
    return (loop,) if by_user else ()
