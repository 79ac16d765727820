"""Arming and disarming: asyncio is patched once for the whole process, and put back exactly.

A *probe* patches some of asyncio's functions and emits a *sighting* when it sees something worth
judging. Probes are installed when the first watch arms and removed when the last one disarms,
whatever the order in between: two watches that overlap in time (in threads, or one inside the
other) share one set of patches, so none can restore the other's.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

from pytest_loopsafe._cpython import BaseEventLoop, Topic, marked_async, namespace_of
from pytest_loopsafe._words.descriptors import Conversation, conversations

_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: set for classes made by a class statement; Cython's are static."""


class Sighting:
    """The base of what probes emit. Sightings hold live objects and must not be kept."""

    __slots__ = ()


Emit = Callable[[Sighting], None]

Inherits = Callable[[Sequence[Any], Sequence[Conversation]], None]
"""Takes in what came along in a fork: loops, and connections."""


class Probe(Protocol):
    """A place where asyncio is watched. Stateless: one instance serves the process."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Patch what is needed through `patches`; call `emit` from the patches."""


class Observer(Protocol):
    """Who receives sightings: a watch."""

    def observe(self, sighting: Sighting) -> None:
        """Take in a sighting, in whichever thread it was made."""

    def before_fork(self) -> None:
        """This process is about to fork."""

    def forked(self, parent: int) -> bool:
        """This is a forked child; whether this copy goes on observing there."""


class Patches:
    """Attributes replaced, and how to put them back."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, bool, Any, Any]] = []
        self._on_loop_classes: list[Callable[[type], None]] = []
        self._loop_classes = tuple(dict.fromkeys(_loop_classes(asyncio.AbstractEventLoop)))
        self._when_armed: list[Callable[[], None]] = []
        self._when_inherited: list[Inherits] = []
        self._heir = 0
        self._of_modules: dict[int, tuple[Any, Any]] = {}
        self._when_imported: dict[tuple[str, str], Callable[[Any], None]] = {}
        self.steps: dict[int, Any] = {}
        """The steps of tasks that somebody wants to see the end of, by the ``id()`` of the task."""
        self.blind: tuple[Topic, ...] = ()
        """What the canary did not see on this interpreter."""

    def replace(self, owner: Any, name: str, build: Callable[[Any], Any]) -> None:
        """Replace ``owner.name`` by what `build` makes of the original.

        A function that two modules have is replaced by one and the same in both: pickle finds it by
        the name of its own module, and wants to find itself. One that stands for a coroutine
        function says that it is one: ``create_autospec()`` and frameworks ask.

        What this interpreter does not have is left alone: of that the canary tells.
        """
        own = name in vars(owner)
        if not own and not hasattr(owner, name):
            return
        original = vars(owner)[name] if own else getattr(owner, name)
        if isinstance(owner, ModuleType) and id(original) in self._of_modules:
            _, replacement = self._of_modules[id(original)]
        else:
            replacement = build(original)
            functools.update_wrapper(replacement, original)
            if inspect.iscoroutinefunction(original):
                marked_async(replacement)
            if isinstance(owner, ModuleType):
                self._of_modules[id(original)] = original, replacement
        setattr(owner, name, replacement)
        self._undo.append((owner, name, own, original, replacement))

    def on_loop_classes(
        self,
        name: str,
        build: Callable[[Any], Any],
        *,
        inherited: bool = False,
        foreign_only: bool = False,
    ) -> None:
        """Replace a method on every event loop class that defines it, now or later.

        Args:
            name: the method.
            build: makes the replacement from the original.
            inherited: also on classes that inherit it from a base that cannot be patched, as
                uvloop's does from its compiled base.
            foreign_only: leave asyncio's own loops, and classes derived from them, alone.
        """
        covered: set[type] = set()

        def patch(cls: type) -> None:
            if cls in covered:  # known already, and one more of its loops was made
                return
            covered.add(cls)
            foreign = not issubclass(cls, BaseEventLoop)
            if foreign_only and not foreign:
                return
            if name in vars(cls) or (inherited and foreign and _is_compiled(cls, name)):
                self.replace(cls, name, build)

        self._on_loop_classes.append(patch)
        for cls in self._loop_classes:
            patch(cls)

    def when_armed(self, action: Callable[[], None]) -> None:
        """Call this whenever one more watch arms: it has to be told all from the beginning."""
        self._when_armed.append(action)

    def when_inherited(self, action: Inherits) -> None:
        """Call this in each forked child, with the loops and connections that came along."""
        self._when_inherited.append(action)

    def inherit(self, loops: Sequence[Any], connections: Sequence[Conversation]) -> None:
        """This is a forked child, and has these from its parent; told once."""
        if self._heir != os.getpid():
            self._heir = os.getpid()
            for action in self._when_inherited:
                action(loops, connections)

    def when_imported(self, module: str, name: str, action: Callable[[Any], None]) -> None:
        """Call this once with ``module.name``: now, or once somebody has imported it.

        Nothing is imported for it, and no import is hooked: `look_again` finds it.
        """
        self._when_imported[module, name] = action
        self.look_again()

    def look_again(self) -> None:
        """Find what has been imported since."""
        for key in tuple(self._when_imported):
            found = namespace_of(sys.modules.get(key[0])).get(key[1])
            action = self._when_imported.pop(key, None) if found is not None else None
            if action is not None:
                action(found)

    def arm(self) -> None:
        """One more watch arms."""
        self.look_again()
        for action in self._when_armed:
            action()

    def cover(self, cls: type) -> None:
        """Patch a loop class that was defined after the probes were installed."""
        self._loop_classes = tuple(dict.fromkeys((*self._loop_classes, cls)))
        for patch in self._on_loop_classes:
            patch(cls)

    def watch_new_loop_classes(self) -> None:
        """See classes of loops that are defined while armed (``import uvloop`` inside a test)."""
        owner: Any = asyncio.AbstractEventLoop

        def __init_subclass__(cls: Any, /, **kwargs: Any) -> None:  # noqa: N807
            super(owner, cls).__init_subclass__(**kwargs)
            self.cover(cls)

        replacement: Any = classmethod(__init_subclass__)
        owner.__init_subclass__ = replacement
        self._undo.append((owner, "__init_subclass__", False, None, replacement))

    def restore(self) -> None:
        """Put all back, last first.

        An attribute that somebody else has replaced since is theirs and stays; what we left below
        it passes calls through.
        """
        self._when_imported.clear()
        while self._undo:
            owner, name, own, original, replacement = self._undo.pop()
            if vars(owner).get(name) is not replacement:
                continue
            if own:
                setattr(owner, name, original)
            else:
                delattr(owner, name)
        self._on_loop_classes.clear()


def _loop_classes(root: Any) -> Iterator[Any]:
    """The concrete loop classes known to the process; the abstract one itself does nothing."""
    for cls in root.__subclasses__():
        yield cls
        yield from _loop_classes(cls)


def _is_compiled(cls: type, name: str) -> bool:
    """Whether a loop class inherits a method from a base that cannot be patched (a C type)."""
    for base in cls.__mro__[1:]:
        if name in vars(base):
            return not base.__flags__ & _HEAP_TYPE
    return False


class Instrumentation:
    """The process's patches and who listens to them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._observers: tuple[Observer, ...] = ()
        self._patches: Patches | None = None
        self._busy = threading.local()
        self._pid = os.getpid()
        self._hears_forks = False
        self._heir = 0
        self._connections: tuple[Conversation, ...] = ()

    @contextmanager
    def armed(
        self,
        probes: Iterable[Probe],
        observer: Observer,
        check: Callable[[Probes], tuple[Topic, ...]],
    ) -> Iterator[Patches]:
        """Deliver sightings to an observer for the length of a ``with`` block.

        Args:
            probes: what to install, if nothing is yet.
            observer: who is to receive the sightings.
            check: called with the fresh patches before anything is watched (the canary); it
                returns what they do not see, and raises where that is too much.
        """
        with self._lock:
            if self._patches is None:
                self._install(tuple(probes), check)
            patches = self._patches
            assert patches is not None
            self._observers += (observer,)
            patches.arm()
        try:
            yield patches
        finally:
            with self._lock:
                remaining = list(self._observers)
                remaining.remove(observer)
                self._observers = tuple(remaining)
                if not remaining:
                    self._patches = None
                    patches.restore()

    def _install(
        self, probes: tuple[Probe, ...], check: Callable[[Probes], tuple[Topic, ...]]
    ) -> None:
        patches = Patches()
        self._pid = os.getpid()
        if not self._hears_forks and hasattr(os, "register_at_fork"):
            self._hears_forks = True  # for good: there is no way to take it back
            os.register_at_fork(before=self._before_fork, after_in_child=self._forked)
        try:
            for probe in probes:
                probe.install(patches, self.emit)
            patches.watch_new_loop_classes()
            patches.blind = check(self)
        except BaseException:
            patches.restore()
            raise
        self._patches = patches

    @contextmanager
    def only(self, observer: Observer) -> Iterator[None]:
        """Deliver to this observer alone meanwhile: for the canary."""
        previous, self._observers = self._observers, (observer,)
        try:
            yield
        finally:
            self._observers = previous

    def emit(self, sighting: Sighting) -> None:
        """Hand a sighting to every observer.

        Judging a sighting may itself call asyncio (a ``repr``, a collection that runs
        finalizers): what that emits, in the same thread, is our own doing and is dropped.
        """
        if getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            for observer in self._observers:
                observer.observe(sighting)
        finally:
            self._busy.now = False

    def _before_fork(self) -> None:
        for observer in self._observers:
            observer.before_fork()

    def _forked(self) -> None:
        """A forked child has the patches too; its observers are copies, which may go on."""
        parent, self._pid = self._pid, os.getpid()
        self._lock = threading.RLock()
        self._busy = threading.local()
        self._observers = tuple(one for one in self._observers if one.forked(parent))

    def inherit(self, loops: list[Any]) -> list[Any]:
        """Have hooked, in a forked child, what it shares with its parent; returns the loops.

        Which connections came along is asked at the first time: later there are others.
        """
        if self._heir != os.getpid():
            self._heir, self._connections = os.getpid(), tuple(conversations())
        if self._patches is not None:
            self._patches.inherit(loops, self._connections)
        return loops

    def leave(self) -> None:
        """Put asyncio back in a forked child that is to be none of its parent's business."""
        self._observers = ()
        if self._patches is not None:
            self._patches.restore()
            self._patches = None

    def look_again(self) -> None:
        """Cover what has been imported since the last look."""
        patches = self._patches
        if patches is not None:
            patches.look_again()

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Do not hear, in this thread, what judging itself causes."""
        before, self._busy.now = getattr(self._busy, "now", False), True
        try:
            yield
        finally:
            self._busy.now = before


class Probes(Protocol):
    """What the canary needs of the instrumentation: to be its only listener for a moment."""

    def only(self, observer: Observer) -> Any:
        """A context manager during which `observer` alone receives sightings."""


PROCESS = Instrumentation()
"""The one piece of process-wide state: asyncio itself is process-wide, so are patches to it."""
