"""LS302: an async generator was left for the loop or the collector to close.

Its ``finally`` and ``async with`` then run late: at the loop's end, or when the collector comes by,
perhaps in another task, with whatever they wait for already gone. One in which nothing would act on
its being closed has nothing to do any more, and is left alone: it is suspended outside of any
``try`` or ``with``, or within an ``except`` of other classes alone.

One that a global still has when later loops run is stale (LS201): ``async for`` over it ends at
once, and says nothing.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from types import AsyncGeneratorType, CodeType
from typing import Any, Literal

from pytest_loopsafe import _cpython
from pytest_loopsafe._bytecode.handlers import acts_on
from pytest_loopsafe._graph.guards import global_of
from pytest_loopsafe._graph.own_slots import in_named_slot, in_own_slot, in_weak_slot
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._rules.base import Detector, PassEnded, RunEnded, loop_births
from pytest_loopsafe._rules.ls201 import STALE
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import (
    Frame,
    Stack,
    describe_frames,
    is_library,
    suspended_frames,
)
from pytest_loopsafe._words.weak import Ref, nowhere

RULE = Rule(
    "LS302",
    "asyncgen-left-open",
    Severity.WARNING,
    "an async generator was left for the loop or the collector to close",
    "Close it where it is used: `async with contextlib.aclosing(generator()) as items:`, or run "
    "through it to its end.",
)


Fate = Literal["collected", "closed", "forgotten"]


@dataclass(frozen=True)
class AsyncgenLeft(Sighting):
    """A started, unfinished async generator, and what became of it.

    It was collected; the loop closed it at its end; or the loop was closed without it.
    """

    loop: asyncio.AbstractEventLoop
    generator: Any
    fate: Fate


async def _none() -> AsyncGenerator[None]:
    yield


def _kinds_of_steps() -> tuple[type, type]:
    step: Any = anext(_none())
    step.close()  # 3.13 warns of one that nobody awaits
    nothing: Any = _Nothing()
    return type(step), type(anext(nothing, None))


class _Nothing:
    def __anext__(self) -> None:
        """Give nothing that somebody would have to await."""


_STEP, _STEP_OR_DEFAULT = _kinds_of_steps()
"""What ``anext(generator)`` is, one step of it, and ``anext(generator, default)`` around that."""


def _stepped_by(awaitable: Any) -> Any:
    """The async generator of which this is a step; None of anything else."""
    kind = type(awaitable)
    if kind is _STEP_OR_DEFAULT:
        return next(filter(None, map(_stepped_by, gc.get_referents(awaitable))), None)
    steps = gc.get_referents(awaitable) if kind is _STEP else ()
    return next(filter(is_generator, steps), None)


def is_generator(thing: Any) -> bool:
    """Whether an object is an async generator."""
    return type(thing) is AsyncGeneratorType


class AsyncgenProbe:
    """Sees what asyncio does about unfinished async generators.

    Told are those that the user's own code iterates, whoever wrote the generator: it is the one
    who iterates that has to close. Asyncio is told of each generator's first iteration.
    """

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook what a running loop is told of, and ``shutdown_asyncgens``."""
        # By address: a generator's weak references are gone before its finalizer runs. An address
        # that is taken over is told of anew, at that generator's first iteration.
        of_user: set[int] = set()

        def build_first(original: Callable[..., Any]) -> Callable[..., Any]:
            def _asyncgen_firstiter_hook(self: Any, agen: Any) -> Any:
                if not is_library(sys._getframe(1).f_code.co_filename):
                    of_user.add(id(agen))
                else:
                    of_user.discard(id(agen))
                return original(self, agen)

            return _asyncgen_firstiter_hook

        def build_finalizer(original: Callable[..., Any]) -> Callable[..., Any]:
            def _asyncgen_finalizer_hook(self: Any, agen: Any) -> Any:
                if not is_library(agen.ag_code.co_filename) or id(agen) in of_user:
                    emit(AsyncgenLeft(self, agen, "collected"))
                return original(self, agen)

            return _asyncgen_finalizer_hook

        def build_shutdown(original: Callable[..., Any]) -> Callable[..., Any]:
            def shutdown_asyncgens(self: Any) -> Any:
                for generator in _cpython.open_asyncgens(self):
                    if id(generator) in of_user:
                        emit(AsyncgenLeft(self, generator, "closed"))
                return original(self)

            return shutdown_asyncgens

        def build_close(original: Callable[..., Any]) -> Callable[..., Any]:
            def close(self: Any) -> Any:
                if not self.is_closed():
                    for generator in [*_cpython.open_asyncgens(self), *stepped.pop(self, ())]:
                        if id(generator) in of_user:
                            of_user.discard(id(generator))
                            emit(AsyncgenLeft(self, generator, "forgotten"))
                return original(self)

            return close

        # ``run_until_complete(anext(generator))``: begun where no loop runs, no loop is told of it.
        stepped: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()

        def build_run(original: Callable[..., Any]) -> Callable[..., Any]:
            def run_until_complete(self: Any, future: Any) -> Any:
                __tracebackhide__ = True
                generator = _stepped_by(future)
                if generator is not None and not is_library(generator.ag_code.co_filename):
                    of_user.add(id(generator))
                    stepped.setdefault(self, weakref.WeakSet()).add(generator)
                return original(self, future)

            return run_until_complete

        patches.replace(*_cpython.FIRST_ITERATION, build_first)
        patches.replace(*_cpython.FINALIZER, build_finalizer)
        patches.replace(_cpython.BaseEventLoop, "shutdown_asyncgens", build_shutdown)
        patches.replace(_cpython.BaseEventLoop, "close", build_close)
        patches.replace(_cpython.BaseEventLoop, "run_until_complete", build_run)


@dataclass(frozen=True)
class _Left:
    """One that was there when its loop ended; `module` is where it looks for globals."""

    ref: Ref
    name: str
    code: CodeType
    offset: int
    module: str
    info: LoopInfo
    frames: tuple[Frame, ...]
    fate: Fate

    def is_guarded(self) -> bool:
        """Whether anything in it acts on its being closed."""

        def resolve(path: tuple[str, ...]) -> Any:
            return global_of(self.module, path)

        return acts_on(self.code, self.offset, GeneratorExit, resolve)


class AsyncgenLeftOpen(Detector):
    """LS302 at rest; LS201 at the end."""

    rules = (RULE, STALE)
    probes = (AsyncgenProbe(),)
    judges = (AsyncgenLeft, PassEnded, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._left: list[_Left] = []
        self._ended: dict[CodeType, _Left] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report the generator, unless it is kept for the loop's lifetime.

        A generator in a mapping's entry for this loop is there on purpose: asyncio closes it when
        the loop ends, and that is how something can be closed in the loop that it belongs to.
        """
        if isinstance(sighting, AsyncgenLeft):
            self._met(sighting)
            return
        left, self._left = self._left, []
        for one in left:
            if one.is_guarded() and not self._is_in_own_slot(one):
                yield self._found(one)
        if isinstance(sighting, RunEnded):
            yield from self._stale()

    def _met(self, sighting: AsyncgenLeft) -> None:
        generator, loop = sighting.generator, sighting.loop
        code = getattr(generator, "ag_code", None)
        if code is None or generator.ag_frame is None:
            return
        frames = describe_frames(suspended_frames(generator)[0])
        info, name = self.loops.of(loop), generator.__qualname__
        # One that dies now must not be referred to again, not even weakly: where nobody brings it
        # back to life, CPython frees it all the same, and the reference leads into freed memory.
        is_dying = sighting.fate == "collected"
        ref = nowhere if is_dying else weakref.ref(generator)
        frame = generator.ag_frame
        module = frame.f_globals.get("__name__")
        module = module if type(module) is str else ""
        one = _Left(ref, name, code, frame.f_lasti, module, info, frames, sighting.fate)
        if is_dying:
            self._left.append(one)
        elif not in_weak_slot(generator, loop):
            if not in_named_slot(generator, loop):
                self._left.append(one)
            self._ended.setdefault(code, one)

    def _is_in_own_slot(self, one: _Left) -> bool:
        generator = one.ref()
        loop = next((loop for loop in self.loops.alive() if self.loops.of(loop) is one.info), None)
        if generator is None or loop is None:
            return False
        return any(in_own_slot(owner.chain, loop) for owner in self.graph.owners(generator))

    @staticmethod
    def _found(one: _Left) -> Observation:
        how = {
            "collected": "the collector found it",
            "closed": f"{one.info} closed it at its end",
            "forgotten": f"{one.info} was closed without it",
        }[one.fate]
        return Observation(
            Finding(
                RULE,
                f"the async generator {one.name}() was left unfinished; {how}",
                one.info,
                None,
                (Stack("it was suspended here", one.frames), *loop_births(one.info)),
                RULE.remedy,
            ),
            about=() if (generator := one.ref()) is None else (generator,),
            identity=one.code,
        )

    def _stale(self) -> Iterator[Observation]:
        for one in self._ended.values():
            generator, later = one.ref(), self.loops.rerun_since(one.info)
            owner = self.graph.single_path(generator) if generator is not None and later else None
            if owner is None:
                continue
            yield Observation(
                Finding(
                    STALE,
                    f"the async generator {one.name}() ended with {one.info}, and {owner} still "
                    f"has it, although {later} ran the same code: it gives nothing any more",
                    later,
                    one.info,
                    loop_births(one.info, later),
                    "Make the generator in the loop that iterates it, and close it there "
                    "(`async with contextlib.aclosing(...)`): asyncio.run() closes what is left.",
                    home_state="closed",
                    owner=owner,
                ),
                identity=owner,
            )
