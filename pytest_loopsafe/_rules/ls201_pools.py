"""LS201: a pool of threads that went down with the loop whose default executor it was.

A loop shuts the pool down that ``set_default_executor()`` has given it, when it ends: it takes it
for its own. Evidence: the pool took work until a loop ended that had it as its default executor,
and after that it was given work, or made another loop's default executor. What is refused is seen
where the pool refuses, whether or not the code keeps the error to itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, Self

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.executors import (
    DefaultPoolEnding,
    DefaultPoolSet,
    ExecutorProbe,
    JobRefused,
)
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopClosing
from pytest_loopsafe._rules.base import Detector, loop_births
from pytest_loopsafe._rules.ls201 import STALE
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.naming import name_loop
from pytest_loopsafe._words.stacks import Stack, live_frames, stack_here
from pytest_loopsafe._words.ways import way_here
from pytest_loopsafe._words.weak import Ref

_REMEDY = (
    "A loop shuts its default executor down when it ends: hand a pool that outlives it to "
    "run_in_executor(pool, ...) instead, or make one for each run."
)
_MAX_POOLS = 1_000


class PoolOfDeadLoop(Detector):
    """LS201 for what was a loop's default executor."""

    rules = (STALE,)
    probes = (ExecutorProbe(), LifeProbe())
    judges = (DefaultPoolSet, DefaultPoolEnding, LoopClosing, JobRefused)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._default: dict[int, Ref] = {}  # by the loop's number
        self._ended: dict[int, tuple[Ref, LoopInfo]] = {}  # by the pool's id()

    def follow(self, elder: Self) -> None:
        """Know whose the pools of loops are that are still open."""
        self._default, self._ended = elder._default, elder._ended

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note whose pool it is, and which loop takes it down; report what comes later."""
        if isinstance(sighting, DefaultPoolSet):
            info = self.loops.of(sighting.loop)
            self._default[info.number] = weakref.ref(sighting.pool)
            home = self._home(sighting.pool)
            if home is not None and _cpython.is_shut(sighting.pool):
                how = f"it was made the default executor of {info}"
                yield self._found(sighting.pool, home, info, how)
        elif isinstance(sighting, DefaultPoolEnding | LoopClosing):
            self._ends(self.loops.of(sighting.loop))
        elif isinstance(sighting, JobRefused):
            yield from self._refused(sighting)

    def _ends(self, info: LoopInfo) -> None:
        ref = self._default.pop(info.number, None)
        pool = ref() if ref is not None else None
        if ref is not None and pool is not None and not _cpython.is_shut(pool):
            self._ended[id(pool)] = ref, info
            if len(self._ended) > _MAX_POOLS:
                del self._ended[next(iter(self._ended))]

    def _home(self, pool: Any) -> LoopInfo | None:
        ref, info = self._ended.get(id(pool), (None, None))
        return info if ref is not None and ref() is pool else None

    def _refused(self, sighting: JobRefused) -> Iterator[Observation]:
        home = self._home(sighting.pool)
        running = _cpython.get_running_loop()
        here = self.loops.of(running) if running is not None else None
        if home is not None and home is not here:
            where = f"in {here}" if here is not None else "outside any loop"
            found = self._found(sighting.pool, home, here, f"it was given work {where}")
            way = way_here(live_frames(), type(sighting.error), sighting.let_go)
            yield Observation(found.finding, sighting.error, way, about=found.about)

    def _found(self, pool: Any, home: LoopInfo, here: LoopInfo | None, how: str) -> Observation:
        return Observation(
            Finding(
                STALE,
                f"a {type(pool).__qualname__} was shut down with {name_loop(home)}, whose default "
                f"executor it was, and later {how}",
                here,
                home,
                (Stack("it was used here", stack_here()), *loop_births(home, here)),
                _REMEDY,
                home_state="closed",
            ),
            about=(pool,),
        )
