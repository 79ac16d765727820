"""How loops follow one another. ``asyncio.Runner`` runs them, as in ``asyncio.run()`` itself."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, TypeVar

from pytest_loopsafe._probes.instrumentation import Patches
from pytest_loopsafe._run import addresses
from pytest_loopsafe._run.threads import Rendezvous, in_threads
from pytest_loopsafe._words.settings import LoopFactory, Settings, SettingsError

T = TypeVar("T")
Limit = Callable[[], AbstractContextManager[None]]
"""Limits the time of a ``with`` block: all of a pass but its waiting for other passes."""
Conduct = Callable[[asyncio.Runner], Any]
"""Runs one pass with a Runner of its own, which makes its loop when it is first asked to run."""


class LoopFactoryError(SettingsError):
    """A loop factory returned something else than a fresh event loop."""


class Schedule(ABC):
    """Runs one pass after another, each in the loop whose turn it is."""

    def rounds(self, passes: int) -> Iterable[Sequence[int]]:
        """The numbers of the passes, those together that run at the same time."""
        return ([number] for number in range(1, passes + 1))

    def perform(
        self, attempts: Sequence[Callable[[], T]], interrupted: Callable[[], None]
    ) -> list[T]:
        """Make the passes of a round, each in the thread that is to have it.

        Args:
            attempts: one call for each pass.
            interrupted: hastens their end when this thread is interrupted and they run elsewhere.
        """
        return [attempt() for attempt in attempts]

    @abstractmethod
    def run(self, conduct: Conduct, limit: Limit) -> Any:
        """Have one pass conducted, in the loop whose turn it is."""

    def call(self, func: Callable[[], T], limit: Limit) -> T:
        """Call a sync function, as one pass."""
        with limit():
            return func()

    @contextmanager
    def running(self, patches: Patches) -> Iterator[None]:
        """Hold for all passes what has to be held; `patches` are the ones in force."""
        yield

    def between(self) -> None:
        """Called when a pass has ended and another follows."""
        return

    def notes(self) -> tuple[str, ...]:
        """What could not be done as asked."""
        return ()


class Consecutive(Schedule):
    """``asyncio.run()`` after ``asyncio.run()``, with the loops' addresses to a plan."""

    def __init__(self, factory: LoopFactory | None, plan: addresses.Plan, passes: int) -> None:
        self._factory = factory
        self._plan = plan
        self._steering = addresses.Steering(plan, passes)
        self._cover: Callable[[type], None] = lambda kind: None

    @contextmanager
    def running(self, patches: Patches) -> Iterator[None]:
        """Steer where asyncio makes its loops, for the passes' loops and for the code's own."""
        self._cover = patches.cover
        steered = Patches()
        for owner in (asyncio, asyncio.events):
            steered.replace(owner, "new_event_loop", self._steered)
        try:
            yield
        finally:
            steered.restore()
            self._steering.let_go()

    def _steered(self, original: LoopFactory) -> LoopFactory:
        def new_event_loop() -> asyncio.AbstractEventLoop:
            loop: asyncio.AbstractEventLoop = self._steering.make(original)
            return loop

        return new_event_loop

    def run(self, conduct: Conduct, limit: Limit) -> Any:
        """One ``asyncio.run()``."""
        factory = self._checked_factory if self._factory is not None else None
        with limit():
            try:
                with closing(asyncio.Runner(loop_factory=factory)) as runner:
                    return conduct(runner)
            finally:
                self._steering.reserve()  # at once: all that is made now may take the place

    def between(self) -> None:
        """The next loops are those of the next pass."""
        self._steering.next_pass()

    def notes(self) -> tuple[str, ...]:
        """Which loops could not take their predecessor's id, where each was asked to."""
        if self._plan is not addresses.always:
            return ()
        return addresses.describe(self._steering.births)

    def _checked_factory(self) -> asyncio.AbstractEventLoop:
        assert self._factory is not None
        loop = self._steering.make(checked(self._factory))
        self._cover(type(loop))
        fresh: asyncio.AbstractEventLoop = loop
        return fresh


class Persistent(Schedule):
    """One loop; each pass is one ``run_until_complete``."""

    def __init__(self, factory: LoopFactory | None) -> None:
        self._factory = checked(factory) if factory is not None else None
        self._runner: asyncio.Runner | None = None

    @contextmanager
    def running(self, patches: Patches) -> Iterator[None]:
        """Keep the loop from the first pass to the last."""
        with closing(asyncio.Runner(loop_factory=self._factory)) as self._runner:
            if self._factory is not None:
                patches.cover(type(self._runner.get_loop()))
            yield

    def run(self, conduct: Conduct, limit: Limit) -> Any:
        """One ``run_until_complete`` in the one loop."""
        assert self._runner is not None
        with limit():
            return conduct(self._runner)


class Threads(Consecutive):
    """``asyncio.run()`` after ``asyncio.run()``, each in a new thread that ends with it."""

    def perform(
        self, attempts: Sequence[Callable[[], T]], interrupted: Callable[[], None]
    ) -> list[T]:
        """Each in a thread of its own."""
        return in_threads(attempts, interrupted=interrupted)


class Concurrent(Schedule):
    """One ``asyncio.run()`` in each of several threads, at the same time.

    All loops are there before the first coroutine begins, and are open until the last has ended,
    so that none takes another's ``id()``. No shorter turns for the threads meanwhile
    (``sys.setswitchinterval``): measured, it does not make short passes meet more often, and
    those that wait for anything real meet as it is.
    """

    def __init__(self, factory: LoopFactory | None) -> None:
        self._factory = checked(factory) if factory is not None else None
        self._making = threading.Lock()
        self._cover: Callable[[type], None] = lambda kind: None
        self._start = self._finish = Rendezvous(0)

    def rounds(self, passes: int) -> Iterable[Sequence[int]]:
        """All of them at once."""
        return [range(1, passes + 1)]

    @contextmanager
    def running(self, patches: Patches) -> Iterator[None]:
        """Cover the classes of loops that a factory makes."""
        self._cover = patches.cover
        yield

    def perform(
        self, attempts: Sequence[Callable[[], T]], interrupted: Callable[[], None]
    ) -> list[T]:
        """Each in a thread of its own, released together."""
        self._start, self._finish = points = Rendezvous(len(attempts)), Rendezvous(len(attempts))
        return in_threads(attempts, points=points, interrupted=interrupted)

    def run(self, conduct: Conduct, limit: Limit) -> Any:
        """One ``asyncio.run()``, which waits twice: as it begins, and before its loop ends."""
        factory = self._covered_factory if self._factory is not None else None
        runner = asyncio.Runner(loop_factory=factory)
        runner.get_loop()
        self._start.wait()
        try:
            with limit():
                return conduct(runner)
        finally:
            self._finish.wait()
            with limit():
                runner.close()

    def call(self, func: Callable[[], T], limit: Limit) -> T:
        """One call, when all threads are there."""
        self._start.wait()
        with limit():
            return func()

    def _covered_factory(self) -> asyncio.AbstractEventLoop:
        assert self._factory is not None
        with self._making:
            loop = self._factory()
            self._cover(type(loop))
        return loop


class NoLoop(Schedule):
    """The code makes all its loops itself, and how they follow one another is its own affair."""

    def run(self, conduct: Conduct, limit: Limit) -> Any:
        """Never called: sync code is called as it is."""
        raise AssertionError("sync code runs no coroutine of ours")


def checked(factory: LoopFactory) -> LoopFactory:
    """A factory whose product is checked before anything runs on it.

    Raises:
        LoopFactoryError: from the returned function, when it is no open, idle event loop.
    """

    def make() -> asyncio.AbstractEventLoop:
        loop: Any = factory()
        name = getattr(factory, "__qualname__", repr(factory))
        if not isinstance(loop, asyncio.AbstractEventLoop):
            wrong = f"{type(loop).__qualname__} instead of an event loop"
        elif loop.is_closed():
            wrong = "a closed event loop"
        elif loop.is_running():
            wrong = "a running event loop"
        else:
            return loop
        raise LoopFactoryError(
            f"loop_factory={name} returned {wrong}: it must return a new event loop on each call"
        )

    return make


_PLANS: dict[str, addresses.Plan] = {
    "consecutive": addresses.alternate,
    "recycled": addresses.always,
    "threads": addresses.alternate,
    "fork": addresses.never_mind,  # each loop is the first of its process
}


def make(settings: Settings, *, own_loops: bool) -> Schedule:
    """The schedule that the settings ask for.

    Args:
        settings: checked settings.
        own_loops: whether the passes' loops are made here (an async function) or by the code.
    """
    if settings.schedule == "persistent":
        return Persistent(settings.loop_factory) if own_loops else NoLoop()
    if settings.schedule == "concurrent":
        return Concurrent(settings.loop_factory)
    plan = addresses.always if settings.recycle else _PLANS[settings.schedule]
    if plan is addresses.alternate and settings.loops < 3:
        plan = addresses.never_mind
    kind = Threads if settings.schedule == "threads" else Consecutive
    return kind(settings.loop_factory, plan, settings.loops)
