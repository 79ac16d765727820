"""Seeing which loop is installed for a thread, and who asks for it.

``Runner.close()``, and so ``asyncio.run()``, ends with ``set_event_loop(None)``, whatever had been
installed before. That function calls the policy's, which code may call as well. Who asks is seen at
the policy: a loop that runs is given by C code without it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._words.stacks import is_own, is_stdlib, module_file
from pytest_loopsafe._words.ways import LetGo


@dataclass(frozen=True)
class LoopSet(Sighting):
    """``asyncio.set_event_loop`` was called, or the policy's.

    Attributes:
        loop: what was installed; None where what was there was taken away.
        by_runner: whether a Runner did it, which installs its own and at last takes any away.
        is_ours: whether it is the Runner of a pass.
        by_policy: whether it was set at the policy itself.
    """

    loop: asyncio.AbstractEventLoop | None
    by_runner: bool
    is_ours: bool
    by_policy: bool = False


@dataclass(frozen=True)
class LoopGot(Sighting):
    """A policy gave the loop that is installed, or made one and installed it."""

    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class LoopMissed(Sighting):
    """A policy refused to give a loop: none is installed. `let_go` tells who had the error last."""

    error: BaseException
    let_go: LetGo


class InstallProbe:
    """Sees loops being installed, taken away and asked for."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook ``asyncio.set_event_loop`` under both of its names, and the policies."""
        within = threading.local()  # a call that comes to a policy's, and is told by itself

        def build_set(original: Callable[..., Any]) -> Callable[..., Any]:
            def set_event_loop(loop: Any) -> Any:
                with _marked(within):
                    result = original(loop)
                caller = sys._getframe(1)
                by_runner = caller.f_code.co_filename == _RUNNERS
                emit(LoopSet(loop, by_runner, by_runner and _is_our_run(caller)))
                return result

            return set_event_loop

        def build_set_at(original: Callable[..., Any]) -> Callable[..., Any]:
            def set_event_loop(self: Any, loop: Any) -> Any:
                if getattr(within, "now", False):
                    return original(self, loop)
                with _marked(within):
                    result = original(self, loop)
                if any(type(self) is kind for kind in asked):
                    emit(LoopSet(loop, by_runner=False, is_ours=False, by_policy=True))
                return result

            return set_event_loop

        def build_get(original: Callable[..., Any]) -> Callable[..., Any]:
            # The policy looks for the line to warn of outside of asyncio, and we are not there.
            @_cpython.as_of_asyncio
            def get_event_loop(self: Any) -> Any:
                __tracebackhide__ = True
                try:
                    with _marked(within):
                        loop = original(self)
                except RuntimeError as error:
                    let_go = LetGo()
                    _dies_with_the_error = let_go.sentinel()
                    emit(LoopMissed(error, let_go))
                    raise
                emit(LoopGot(loop))
                return loop

            replacement: Callable[..., Any] = get_event_loop
            return replacement

        for owner in _cpython.LOOP_SETTERS:
            patches.replace(owner, "set_event_loop", build_set)
        # What a policy does of which only a base is known may be a part of how it gets a loop.
        asked = _cpython.policies()
        for policy in _cpython.policies("get_event_loop"):
            patches.replace(policy, "get_event_loop", build_get)
        for policy in _cpython.policies("set_event_loop"):
            patches.replace(policy, "set_event_loop", build_set_at)


@contextmanager
def _marked(within: threading.local) -> Iterator[None]:
    before, within.now = getattr(within, "now", False), True
    try:
        yield
    finally:
        within.now = before


def asks_for_loop() -> bool:
    """Whether a policy that is asked for its loop is at work: what is made now is its own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == __file__ and frame.f_code.co_name == "get_event_loop":
            return True
        frame = frame.f_back
    return False


def _is_our_run(frame: FrameType | None) -> bool:
    """Whether a pass of ours runs in these frames, and not what the code under test has begun."""
    while frame is not None:
        code = frame.f_code
        if not is_stdlib(code.co_filename):
            return False
        if is_own(code.co_filename) and "original" not in code.co_freevars:  # no hook
            return True
        frame = frame.f_back
    return False


_RUNNERS = module_file("asyncio.runners")
