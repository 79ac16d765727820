"""LS109: a run was refused since a loop runs in this thread, and its coroutine never ran.

Evidence: a loop runs in this thread, and ``asyncio.run()``, ``Runner.run()``,
``run_until_complete()`` or ``run_forever()`` ended with a RuntimeError while the coroutine had not
begun. What the code makes of that is judged when all rests, by what became of that very coroutine:
the interpreter says of each one that ends unbegun and unclosed. Code that is prepared has run it in
another way, or has closed it, or has given a loop another one of the same code instead, or another
one that was given the same has begun in this pass, whoever awaits it: one for each that was
refused. Or the handler names the refusal, and hands what was to be done to another function.

A refusal that left the pass is no secret and no finding; nor is one that a test says it expects
(``pytest.raises``). How wide a handler is says nothing here: ``except RuntimeError: pass`` loses
the work as well as ``except Exception`` does.
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.begins import Begins, Given, given_to
from pytest_loopsafe._probes.handlers import hands_on, is_handled_by
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LoopClosed
from pytest_loopsafe._probes.refusals import (
    Awaited,
    Expected,
    RefusalProbe,
    RunRefused,
    RunsInGreenlet,
)
from pytest_loopsafe._probes.retries import awaits_later, uses_again
from pytest_loopsafe._probes.tasks import TaskProbe, TaskStarted
from pytest_loopsafe._rules.base import Detector, loop_births
from pytest_loopsafe._rules.ls103 import next_to_the_call
from pytest_loopsafe._words.errors import error_chain
from pytest_loopsafe._words.finalizers import in_finalizer
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import state_of
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import (
    Frame,
    Stack,
    current_stack,
    first_argument,
    is_library,
    is_method,
    is_own,
    live_frames,
    stack_here,
)
from pytest_loopsafe._words.texts import arguments
from pytest_loopsafe._words.ways import Fate, Way, way_here
from pytest_loopsafe._words.weak import Ref, nowhere, weak

REFUSED = Rule(
    "LS109",
    "nested-run-refused",
    Severity.ERROR,
    "a run was refused because a loop runs in this thread, and the refusal was swallowed",
    "Await the coroutine where a loop runs, or hand it over: asyncio.run() in a thread of its own, "
    "asyncio.run_coroutine_threadsafe(coro, loop) to a loop in another thread. Ask with "
    "asyncio.get_running_loop() which of the two it is, and let no handler keep the refusal.",
)


_ELSEWHERE = (
    "End what runs that loop before this (leave `with sync_playwright()`), or run this in a thread "
    "of its own: asyncio.get_running_loop() tells whether a loop occupies this one."
)


def _is_lost(one: Awaited, awaited: tuple[Awaited, ...]) -> bool:
    """Whether a coroutine never ran, and nobody has it who could still run it.

    Whoever keeps a traceback keeps what its frames refer to, and runs nothing of it.

    Args:
        one: the coroutine.
        awaited: those that were refused together: one is an argument of another.
    """
    coroutine = one.ref()
    if coroutine is None:
        return one.ended_unbegun
    if _cpython.has_begun(coroutine):
        return False
    refused = [one.ref() for one in awaited]
    holders = [one for one in gc.get_referrers(coroutine) if one is not refused]
    # One that nobody holds is in a frame that runs, of another thread: that may go on with it.
    return bool(holders) and all(
        type(holder) is FrameType or any(holder is one for one in refused) for holder in holders
    )


@dataclass(eq=False)
class _Refusal:
    """A refusal, and what has been seen since.

    Attributes:
        told: the error's own arguments, which nobody else has: it is recognised by them.
        awaited: the coroutine, and what it was given.
        thread: where it was refused.
        pass_number: the pass in which that was.
        caller: the code that asked for the run.
        is_seen: whether it is seen that a function of that code begins.
        is_answered: another coroutine of the same code runs instead.
        by: that one, where a loop was given it.
        handed_on: where the caller stood when it gave a loop other work with the same in it.
        is_expected: a test has said that it expects this error.
        note: what is to be said where it left the pass, and what occupies the thread is not there.
    """

    told: tuple[object, ...]
    awaited: tuple[Awaited, ...]
    thread: int
    pass_number: int
    caller: CodeType | None
    is_seen: bool = False
    is_answered: bool = False
    by: Ref = nowhere
    handed_on: list[int] = field(default_factory=list)
    is_expected: bool = False
    note: str | None = None

    def is_answered_by(self, code: CodeType) -> bool:
        """Whether to run this code is to run what was refused.

        A wrapper of a library's serves all that it is given: there only what is given counts.
        """
        codes = [one.code for one in self.awaited]
        own = [one for one in codes if not is_library(one.co_filename)]
        return any(code is one for one in own or codes)

    def still_called(self) -> FrameType | None:
        """The frame of the function that asked for the run, if it is at work."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not self.caller:
            frame = frame.f_back
        return frame

    def runs_in(self, frame: FrameType) -> bool:
        """Whether this is the frame of what was refused, or of what has answered it."""
        coroutines = self.by(), *(one.ref() for one in self.awaited)
        return any(one is not None and one.cr_frame is frame for one in coroutines)

    @property
    def main(self) -> Awaited:
        """What was to run: the user's own, where a library's wrapper was given it."""
        own = (one for one in self.awaited if not is_library(one.code.co_filename))
        return next(own, self.awaited[0])

    def is_given(self, now: Given) -> bool:
        """Whether a function is given now what it was given that was refused."""
        return self.main.given is not None and self.main.given.is_given(now)

    def shares(self, now: Given) -> bool:
        """Whether a function is given now a part of that."""
        return self.main.given is not None and self.main.given.shares(now)

    @property
    def names(self) -> frozenset[str]:
        """What the functions are called that made what was refused."""
        return frozenset(name for one in self.awaited for name in one.names)

    def is_lost(self) -> bool:
        """Whether the work was lost. Only when all rests."""
        if self.is_expected or self.is_answered:
            return False
        return all(_is_lost(one, self.awaited) for one in self.awaited)


_MOST_OPEN = 1000
"""So many refusals are followed at a time: more of them say no more."""


class NestedRunRefused(Detector):
    """LS109."""

    rules = (REFUSED,)
    probes = (RefusalProbe(), TaskProbe())
    judges = (RunRefused, Expected, TaskStarted, RunsInGreenlet, LoopClosed)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: dict[int, _Refusal] = {}  # by the id() of the error's arguments
        self._frequent: dict[int, CodeType] = {}  # by its id()
        self._run_at: dict[int, tuple[Frame, ...]] = {}
        """Where the loops that run in greenlets are run, by their numbers."""
        self._of_code: dict[int, list[_Refusal]] = {}  # by the id() of what was to run
        self._begins = Begins(self._began)

    def close(self) -> None:
        """No function need be followed any more."""
        self._begins.stop()

    def forked(self) -> None:
        """Go on in a forked child."""
        self._begins.forked()

    def follow(self, elder: NestedRunRefused) -> None:
        """A loop that a fixture of many tests runs in a greenlet occupies the thread in all."""
        self._run_at = elder._run_at

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report a refusal, to be judged when all rests, and note what answers it."""
        if isinstance(sighting, RunRefused):
            yield from self._refused(sighting)
        elif isinstance(sighting, Expected):
            for link in error_chain(sighting.error):
                if (refusal := self._open.get(id(arguments(link)))) is not None:
                    refusal.is_expected = True
        elif isinstance(sighting, TaskStarted):
            self._started(sighting)
        elif isinstance(sighting, RunsInGreenlet):
            self._run_at[self.loops.of(sighting.loop).number] = current_stack()
        elif isinstance(sighting, LoopClosed):
            self._run_at.pop(self.loops.of(sighting.loop).number, None)

    def _refused(self, seen: RunRefused) -> Iterator[Observation]:
        told, frames = arguments(seen.error), live_frames()
        if id(told) in self._open or len(self._open) >= _MOST_OPEN or in_finalizer(frames):
            return
        running = self.loops.of(seen.running)
        refused = self.loops.of(seen.refused) if seen.refused is not None else None
        home = refused if refused is not running else None
        where = stack_here()
        refusal = _Refusal(
            told,
            seen.awaited,
            threading.get_ident(),
            self.loops.pass_number,
            frames[-1].f_code if frames else None,
        )
        refusal.is_answered = any(map(refusal.is_answered_by, self._frequent.values()))
        self._open[id(told)] = refusal
        main = refusal.main.code
        self._of_code.setdefault(id(main), []).append(refusal)
        refusal.is_seen = self._begins.follow(main)
        stacks, remedy = [Stack(f"{seen.call} was refused", where)], REFUSED.remedy
        occupied = f"{seen.call} was refused in {running}, which runs in this thread"
        if not _is_run_here(seen.running):
            occupied = f"{seen.call} was refused: {running} occupies this thread, though nothing"
            occupied += " that is at work here runs it"
            run_at = Stack(f"{running} is run here", self._run_at.get(running.number, ()))
            if run_at.frames:
                stacks.append(run_at)
                remedy = _ELSEWHERE
                occupied = f"{seen.call} was refused: {running} occupies this thread from a "
                occupied += "greenlet that was switched away from"
                refusal.note = (
                    f"{seen.call} was refused at {stacks[0].site}: a loop occupies the thread, run "
                    f"at {run_at.site} in a greenlet that was switched away from"
                )
        yield Observation(
            Finding(
                REFUSED,
                f"{occupied}, and the refusal was swallowed: {refusal.main.name}() never ran",
                running,
                home,
                (*stacks, *loop_births(running, home)),
                remedy,
                home_state=state_of(seen.refused) if home and seen.refused is not None else None,
            ),
            seen.error,
            way := way_here(frames, type(seen.error)),
            functools.partial(self._is_excused, refusal, way),
            at_rest=functools.partial(self._is_lost, refusal),
        )

    def _is_lost(self, refusal: _Refusal) -> bool:
        is_lost = refusal.is_lost()
        if not is_lost:
            self._settle(refusal)
        elif gc.isenabled() and any(one.ref() is not None for one in refusal.awaited):
            # What is garbage goes now. If it went while bytecode is read, in the frame of a named
            # tuple without builtins, the interpreter could not even warn of it.
            gc.collect(1)
        return is_lost

    def _is_excused(self, refusal: _Refusal, way: Way, fate: Fate) -> bool:
        self._settle(refusal)
        if fate.left and refusal.note is not None:
            self.graph.notes[refusal.note] = None
        return (
            fate.left
            or any(
                uses_again(point, refusal.names)
                for point in way.points
                if point.code is fate.stayed_in
            )
            or (not refusal.is_seen and any(awaits_later(p, refusal.names) for p in way.points))
            or (fate.narrow is not False and _is_handed_on(refusal, way, fate))
        )

    def _settle(self, refusal: _Refusal) -> None:
        if self._open.pop(id(refusal.told), None) is not None:
            self._of_code[id(refusal.main.code)].remove(refusal)

    def _started(self, seen: TaskStarted) -> None:
        if not self._open:
            return
        frame = seen.coroutine.cr_frame
        given = given_to(frame) if frame is not None else None
        for refusal in tuple(self._open.values()):
            if any(one.ref() is seen.coroutine for one in refusal.awaited):
                return  # this very coroutine, which will have begun
            if refusal.is_answered_by(seen.code):
                if self._causes_what_runs(refusal):
                    if seen.last:
                        self._frequent[id(seen.code)] = seen.code
                    if not refusal.is_answered:
                        refusal.is_answered, refusal.by = True, weak(seen.coroutine)
                        return
            elif given is not None and refusal.shares(given):
                caller = refusal.still_called()
                if caller is not None and threading.get_ident() == refusal.thread:
                    refusal.handed_on.append(caller.f_lasti)
        if frame is not None:
            self._began(frame.f_code, frame, seen.coroutine)

    def _began(self, code: CodeType, frame: FrameType, task_of: Any = None) -> None:
        """A function begins that was to run, or a loop is given it.

        It answers one refusal of those in this pass that it was given the same.
        """
        alike = tuple(self._of_code.get(id(code), ()))
        if not alike or any(one.runs_in(frame) for one in alike):
            return
        given = given_to(frame)
        for refusal in alike:
            is_open = not refusal.is_answered and self.loops.may_serve(refusal.pass_number)
            if is_open and refusal.is_given(given):
                refusal.is_answered, refusal.by = True, weak(task_of)
                return

    def _causes_what_runs(self, refusal: _Refusal) -> bool:
        """Whether what runs now is of a refusal's making: the same call's, or another thread's."""
        if threading.get_ident() == refusal.thread:
            return refusal.still_called() is not None
        return self.loops.may_serve(refusal.pass_number)


def _is_run_here(loop: Any) -> bool:
    """Whether one of the running frames runs a loop, which is the object of a method or a hook."""
    frame: FrameType | None = sys._getframe().f_back
    while frame is not None:
        code = frame.f_code
        if (is_method(code) or is_own(code.co_filename)) and first_argument(frame) is loop:
            return True
        frame = frame.f_back
    return False


def _is_handed_on(refusal: _Refusal, way: Way, fate: Fate) -> bool:
    """Whether the handler, next to the call, hands to another function what was to be done."""
    return any(
        hands_on(point) or is_handled_by(point, refusal.handed_on)
        for point in next_to_the_call(way)
        if point.code is fate.stayed_in
    )
