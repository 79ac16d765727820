"""LS305: the code installs a loop by hand and leaves it installed.

Evidence: the last call of ``set_event_loop`` in a thread was the user's own and gave a loop; at
the end of the run that thread lives, and the loop does not run in it.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._rules.base import Detector, RunEnded, loop_births
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import Frame, Stack, current_stack

LEFT_SET = Rule(
    "LS305",
    "loop-set-globally",
    Severity.WARNING,
    "the code installs a loop by hand and leaves it installed",
    "Let asyncio.run() or asyncio.Runner install the loop, or take it back when it ends: "
    "`finally: asyncio.set_event_loop(None)`.",
)


@dataclass(frozen=True)
class LoopSet(Sighting):
    """``asyncio.set_event_loop`` was called by somebody else than asyncio."""

    loop: asyncio.AbstractEventLoop | None


class SetProbe:
    """Sees loops being installed by hand."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook ``asyncio.set_event_loop`` under both of its names."""

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def set_event_loop(loop: Any) -> Any:
                result = original(loop)
                emit(LoopSet(loop))
                return result

            return set_event_loop

        for owner in _cpython.LOOP_SETTERS:
            patches.replace(owner, "set_event_loop", build)


@dataclass(frozen=True)
class _Installed:
    ref: weakref.ref[Any]
    frames: tuple[Frame, ...]


class LoopSetGlobally(Detector):
    """LS305, at the end of the run: a loop may serve several passes."""

    rules = (LEFT_SET,)
    probes = (SetProbe(),)
    judges = (LoopSet, RunEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._installed: dict[int, _Installed] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note who installs what; report what is left."""
        if isinstance(sighting, RunEnded):
            yield from self._left_set()
        elif isinstance(sighting, LoopSet):
            ident = threading.get_ident()
            if sighting.loop is None:
                self._installed.pop(ident, None)
                return
            frames = current_stack()
            by_user = bool(frames) and not frames[-1].library
            if by_user and self.loops.pass_number > 0:
                self._installed[ident] = _Installed(weakref.ref(sighting.loop), frames)

    def _left_set(self) -> Iterator[Observation]:
        alive = {thread.ident for thread in threading.enumerate()}
        for ident, installed in self._installed.items():
            loop = installed.ref()
            if ident not in alive or (loop is not None and loop.is_running()):
                continue  # its thread is gone, or it is the loop of a thread of its own
            info = self.loops.of(loop) if loop is not None else None
            yield Observation(
                Finding(
                    LEFT_SET,
                    f"{info or 'a loop'} was installed with asyncio.set_event_loop() and left "
                    "installed",
                    None,
                    info,
                    (Stack("it was installed here", installed.frames), *loop_births(info)),
                    LEFT_SET.remedy,
                )
            )
