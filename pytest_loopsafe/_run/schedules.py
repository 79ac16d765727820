"""How loops follow one another. ``asyncio.Runner`` runs them, as in ``asyncio.run()`` itself."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_loopsafe._probes.instrumentation import Patches
from pytest_loopsafe._run import addresses
from pytest_loopsafe._words.settings import LoopFactory, Settings, SettingsError


class LoopFactoryError(SettingsError):
    """A loop factory returned something else than a fresh event loop."""


class Schedule(ABC):
    """Runs one coroutine after another, each in the loop whose turn it is."""

    @abstractmethod
    def run(self, make: Callable[[], Any]) -> Any:
        """Run the coroutine that `make` returns, as one pass."""

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

    def __init__(self, factory: LoopFactory | None, plan: Callable[[int], bool | None]) -> None:
        self._factory = factory
        self._plan = plan
        self._steering = addresses.Steering(plan)
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

    def _steered(self, original: LoopFactory) -> LoopFactory:
        def new_event_loop() -> asyncio.AbstractEventLoop:
            loop: asyncio.AbstractEventLoop = self._steering.make(original)
            return loop

        return new_event_loop

    def run(self, make: Callable[[], Any]) -> Any:
        """One ``asyncio.run()``."""
        factory = self._checked_factory if self._factory is not None else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(make())

    def between(self) -> None:
        """Reserve the address of the loop that has just ended."""
        self._steering.reserve()

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
        with asyncio.Runner(loop_factory=self._factory) as self._runner:
            if self._factory is not None:
                patches.cover(type(self._runner.get_loop()))
            yield

    def run(self, make: Callable[[], Any]) -> Any:
        """One ``run_until_complete`` in the one loop."""
        assert self._runner is not None
        return self._runner.run(make())


class NoLoop(Schedule):
    """The code makes all its loops itself, and how they follow one another is its own affair."""

    def run(self, make: Callable[[], Any]) -> Any:
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


_PLANS: dict[str, Callable[[int], bool | None]] = {
    "consecutive": addresses.alternate,
    "recycled": addresses.always,
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
    plan = _PLANS[settings.schedule]
    if settings.schedule == "consecutive" and settings.loops < 3:
        plan = addresses.never_mind
    if plan is not addresses.never_mind:
        addresses.settle_layout()
    return Consecutive(settings.loop_factory, plan)
