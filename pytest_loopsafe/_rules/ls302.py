"""LS302: an async generator was left for the loop or the collector to close.

Its ``finally`` and ``async with`` then run late: at the loop's end, or when the collector comes by,
perhaps in another task, with whatever they wait for already gone.

One that a global still has when later loops run is stale (LS201): ``async for`` over it ends at
once, and says nothing.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from pytest_loopsafe._cpython import BaseEventLoop
from pytest_loopsafe._graph.view import in_own_slot
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._rules.base import Detector, RunEnded, loop_births
from pytest_loopsafe._rules.ls201 import STALE
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Stack, describe_frames, is_library, suspended_frames

RULE = Rule(
    "LS302",
    "asyncgen-left-open",
    Severity.WARNING,
    "an async generator was left for the loop or the collector to close",
    "Close it where it is used: `async with contextlib.aclosing(generator()) as items:`, or run "
    "through it to its end.",
)


@dataclass(frozen=True)
class AsyncgenLeft(Sighting):
    """A started, unfinished async generator: collected, or still there at the loop's end."""

    loop: asyncio.AbstractEventLoop
    generator: Any
    collected: bool


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
                    emit(AsyncgenLeft(self, agen, collected=True))
                return original(self, agen)

            return _asyncgen_finalizer_hook

        def build_shutdown(original: Callable[..., Any]) -> Callable[..., Any]:
            def shutdown_asyncgens(self: Any) -> Any:
                for generator in list(getattr(self, "_asyncgens", ())):
                    if id(generator) in of_user:
                        emit(AsyncgenLeft(self, generator, collected=False))
                return original(self)

            return shutdown_asyncgens

        patches.replace(BaseEventLoop, "_asyncgen_firstiter_hook", build_first)
        patches.replace(BaseEventLoop, "_asyncgen_finalizer_hook", build_finalizer)
        patches.replace(BaseEventLoop, "shutdown_asyncgens", build_shutdown)


class LeftAsyncgens(Detector):
    """LS302 at once, LS201 at the end of the run."""

    rules = (RULE, STALE)
    probes = (AsyncgenProbe(),)
    judges = (AsyncgenLeft, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ended: dict[CodeType, tuple[weakref.ref[Any], LoopInfo]] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report the generator, unless it is kept for the loop's lifetime.

        A generator in a mapping's entry for this loop is there on purpose: asyncio closes it when
        the loop ends, and that is how something can be closed in the loop that it belongs to.
        """
        if isinstance(sighting, RunEnded):
            yield from self._stale()
            return
        assert isinstance(sighting, AsyncgenLeft)
        generator = sighting.generator
        code = getattr(generator, "ag_code", None)
        if code is None or generator.ag_frame is None:
            return
        if not sighting.collected:
            for owner in self.graph.owners(generator):
                if in_own_slot(owner.chain, sighting.loop):
                    return
        info = self.loops.of(sighting.loop)
        if not sighting.collected:
            self._ended.setdefault(code, (weakref.ref(generator), info))
        frames, _ = suspended_frames(generator)
        how = "the collector found it" if sighting.collected else f"{info} closed it at its end"
        yield Observation(
            Finding(
                RULE,
                f"the async generator {generator.__qualname__}() was left unfinished; {how}",
                info,
                None,
                (Stack("it was suspended here", describe_frames(frames)), *loop_births(info)),
                RULE.remedy,
            ),
            identity=code,
        )

    def _stale(self) -> Iterator[Observation]:
        for ref, info in self._ended.values():
            generator, later = ref(), self.loops.rerun_since(info)
            if generator is None or later is None:
                continue
            owner = self.graph.single_path(generator)
            if owner is None:
                continue
            name = generator.__qualname__
            yield Observation(
                Finding(
                    STALE,
                    f"the async generator {name}() ended with {info}, and {owner} still has it, "
                    f"although {later} ran the same code: it gives nothing any more",
                    later,
                    info,
                    loop_births(info, later),
                    "Make the generator in the loop that iterates it, and close it there "
                    "(`async with contextlib.aclosing(...)`): asyncio.run() closes what is left.",
                    home_state="closed",
                    owner=owner,
                ),
                identity=owner,
            )
