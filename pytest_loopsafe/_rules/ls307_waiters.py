"""LS307: a coroutine that was handed to a loop's thread, and runs on although its waiter gave up.

Evidence: ``result()`` or ``exception()`` of the future that ``run_coroutine_threadsafe()`` gave
was left before it was done (a timeout, a KeyboardInterrupt), and nobody has asked it again,
cancelled it or asked to be told of its end. While the coroutine is undone the same one is begun
again, by a hand-over or as a loop's main task: an error, for what it does is done twice. Where the
thread that gave up begins something else meanwhile it is a warning: the coroutine goes on beside
that. One that has never begun does not go on: nobody runs that loop, and that is LS105's.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopRan
from pytest_loopsafe._rules.base import Detector, PassEnded, RunEnded, loop_births
from pytest_loopsafe._rules.ls105 import HandedOver, HandOverProbe, WaitEnded
from pytest_loopsafe._rules.ls307 import OUTLIVES
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Severity
from pytest_loopsafe._words.stacks import Frame, Stack, is_library, stack_here
from pytest_loopsafe._words.weak import Ref, weak

_REMEDY = (
    "Where the waiter gives up, cancel the future that it waited for (`future.cancel()`), and "
    "begin anew only once the coroutine has ended; or let the coroutine have the timeout itself: "
    "asyncio.timeout()."
)
_MAX_GIVEN_UP = 100
"""So many are followed at a time, the last ones."""


@dataclass(frozen=True)
class _Handed:
    """A coroutine that was handed over: what it is for, to which loop, and itself."""

    code: CodeType
    info: LoopInfo
    loop: Ref
    coroutine: Ref


class _GivenUp:
    """A coroutine whose waiter has given up. Its future is not kept."""

    def __init__(self, future: Any, handed: _Handed) -> None:
        self.future = weakref.ref(future)
        self.code = handed.code
        self.info = handed.info
        self.loop = handed.loop
        self._coroutine = handed.coroutine
        loop = handed.loop()
        self._may_begin = loop is not None and loop.is_running()
        self.thread = weak(threading.current_thread())
        self.frames = stack_here()
        self.done = self.dealt_with = False
        self.again: tuple[Frame, ...] = ()
        self.later: tuple[Frame, ...] = ()
        self._known = {id(one) for one in _cpython.followers(future)}
        future.add_done_callback(self.finish)

    def finish(self, future: Any) -> None:
        """It is done, or was cancelled."""
        self.done = True
        self.dealt_with |= future.cancelled() or self._is_followed(future)

    def look(self) -> None:
        """See whether somebody cares for it by now."""
        future = self.future()
        if future is not None and not self.done:
            self.dealt_with |= self._is_followed(future)

    def has_begun(self) -> bool:
        """Whether the coroutine has run at all; of one that is gone, whether its loop was run."""
        coroutine = self._coroutine()
        if self.done or coroutine is None:
            return self.done or self._may_begin
        return _cpython.has_begun(coroutine)

    def _is_followed(self, future: Any) -> bool:
        return any(
            id(one) not in self._known and getattr(one, "__self__", None) is not self
            for one in _cpython.followers(future)
        )


class WaiterGaveUp(Detector):
    """LS307 for what threads hand over."""

    rules = (OUTLIVES,)
    probes = (HandOverProbe(), LifeProbe())
    judges = (HandedOver, WaitEnded, LoopRan, PassEnded, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._handed: weakref.WeakKeyDictionary[Any, _Handed] = weakref.WeakKeyDictionary()
        self._given_up: list[_GivenUp] = []

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note who gives up, and what begins meanwhile; report at rest."""
        if isinstance(sighting, HandedOver):
            if sighting.code is not None and not is_library(sighting.code.co_filename):
                self._begins(sighting.code)
                self._handed[sighting.future] = _Handed(
                    sighting.code,
                    self.loops.of(sighting.loop),
                    weak(sighting.loop),
                    weak(sighting.coroutine),
                )
        elif isinstance(sighting, LoopRan):
            if not is_library(sighting.code.co_filename):
                self._begins(sighting.code)
        elif isinstance(sighting, WaitEnded):
            self._wait_ended(sighting)
        else:
            yield from self._judge(last=isinstance(sighting, RunEnded))

    def _wait_ended(self, sighting: WaitEnded) -> None:
        known = next((one for one in self._given_up if one.future() is sighting.future), None)
        if known is not None:
            known.dealt_with |= sighting.done
        elif not sighting.done and sighting.future in self._handed:
            self._given_up = self._given_up[-_MAX_GIVEN_UP:]
            self._given_up.append(_GivenUp(sighting.future, self._handed[sighting.future]))

    def _begins(self, code: CodeType) -> None:
        for one in self._given_up:
            if one.done or one.dealt_with:
                continue
            if one.code is code:
                one.again = one.again or stack_here()
            elif one.thread() is threading.current_thread():
                one.later = one.later or stack_here()

    def _judge(self, *, last: bool) -> Iterator[Observation]:
        waiting, self._given_up = self._given_up, []
        for one in waiting:
            one.look()
            if not one.done and not last:
                self._given_up.append(one)
            elif not one.dealt_with and one.has_begun() and (one.again or one.later):
                yield self._found(one)

    def _found(self, one: _GivenUp) -> Observation:
        name = f"{one.code.co_qualname}()"
        if one.again:
            what = f"{name} was begun again beside it"
            stack = Stack("it was begun again here", one.again)
        else:
            what = "its waiter began something else beside it"
            stack = Stack("its waiter went on here", one.later)
        loop = one.loop()
        return Observation(
            Finding(
                OUTLIVES,
                f"who waited for {name} in {one.info} gave up without cancelling it: it ran on, "
                f"and {what}",
                one.info,
                None,
                (Stack("its waiter gave up here", one.frames), stack, *loop_births(one.info)),
                _REMEDY,
            ),
            about=(loop,) if loop is not None else (),
            users=(),
            severity=Severity.ERROR if one.again else Severity.WARNING,
        )
