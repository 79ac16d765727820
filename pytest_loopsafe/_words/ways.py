"""The way that an error takes: the frames that it passes, noted while the code runs.

What is noted is data: code objects and offsets, of the context managers of a suspended coroutine
what they are. Nothing is looked up in a source file, no bytecode is read, no variable of a running
frame is asked for. Who keeps the error is read from it when all rests
(`pytest_loopsafe._probes.handlers`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType, MethodType, TracebackType
from typing import Any

from pytest_loopsafe._words.stacks import MAX_FRAMES, Frame, suspended_chain


@dataclass(frozen=True)
class Point:
    """Where a frame stands.

    Attributes:
        code: what it runs.
        offset: that of its current instruction.
        module: the name of the module whose globals are its; None where they have none.
        namespace: the ``id()`` of these globals, which another module of that name does not have.
        exits: the context managers that it has entered, outermost first; only of what is suspended.
    """

    code: CodeType
    offset: int
    module: str | None = None
    namespace: int = 0
    exits: tuple[Exit, ...] = ()

    @classmethod
    def of(cls, frame: FrameType, offset: int | None = None, exits: tuple[Exit, ...] = ()) -> Point:
        """Where a frame stands now, or at the offset given."""
        names = frame.f_globals
        module = names.get("__name__") if type(names) is dict else None
        return cls(
            frame.f_code,
            frame.f_lasti if offset is None else offset,
            module if type(module) is str else None,
            id(names),
            exits,
        )


@dataclass(frozen=True)
class Exit:
    """What a context manager does with an error, as far as that is known without asking it.

    Attributes:
        suppresses: the classes that it keeps, of ``contextlib.suppress``.
        generator: where it is suspended, of a generator's.
        callbacks: those of an ExitStack, outermost first.
        passes: it keeps none, as a lock does.
    """

    suppresses: tuple[Any, ...] | None = None
    generator: Point | None = None
    callbacks: tuple[Exit, ...] | None = None
    passes: bool = False


class LetGo:
    """Tells which frame an error never left: the one that let go of it, or that it came up to.

    A traceback keeps the frames that it lists. So what lies in a variable of a frame of ours that
    is among them dies with the error, in the very frame where that happens. As long as it lives,
    it leads to the traceback, whose first entry is the outermost frame that the error has reached.
    """

    def __init__(self) -> None:
        self._by: CodeType | None = None
        self._expected: frozenset[int] = frozenset()
        self._sentinel: weakref.ref[_Sentinel] | None = None

    def sentinel(self) -> object:
        """What to put into a variable of the frame that is about to raise."""
        sentinel = _Sentinel(self)
        self._sentinel = weakref.ref(sentinel)
        return sentinel

    def expect(self, points: Iterable[Point]) -> None:
        """Only these frames count: what runs in between (a logger, say) belongs to one of them."""
        self._expected = frozenset(id(point.code) for point in points)

    def happens(self, frame: FrameType | None) -> None:
        """It happens in this frame."""
        while frame is not None:
            if id(frame.f_code) in self._expected:
                self._by = frame.f_code
                return
            frame = frame.f_back

    def frame(self) -> CodeType | None:
        """The frame that the error never left; None where that is not known.

        Only when all rests: for an error that somebody keeps the heap is searched.
        """
        sentinel = self._sentinel() if self._sentinel is not None else None
        if sentinel is None:
            return self._by
        frames = [one for one in gc.get_referrers(sentinel) if type(one) is FrameType]
        traces: list[Any] = _traces_that_refer_to(frames)
        reached = None
        for _ in range(MAX_FRAMES):
            if len(traces) != 1:
                break
            code = traces[0].tb_frame.f_code
            reached = code if id(code) in self._expected else reached
            traces = _traces_that_refer_to(traces)
        return reached


def _traces_that_refer_to(things: list[Any]) -> list[Any]:
    return [one for one in gc.get_referrers(*things) if type(one) is TracebackType]


class _Sentinel:
    __slots__ = ("__weakref__", "_let_go")

    def __init__(self, let_go: LetGo) -> None:
        self._let_go = let_go

    def __del__(self) -> None:
        with contextlib.suppress(ValueError):  # the interpreter ends, and no frame is left
            self._let_go.happens(sys._getframe(1))


@dataclass(frozen=True)
class Way:
    """The frames that an error passes on its way out, innermost first.

    Attributes:
        kind: the error's type.
        points: where each stands; the last one need not be the outermost of all.
        let_go: which of them it never left, where that could be seen.
        thread: in which it was raised; None for what was suspended.
    """

    kind: type[BaseException]
    points: tuple[Point, ...]
    let_go: LetGo | None = None
    thread: int | None = None

    def is_at_its_start(self) -> bool:
        """Whether the error has still to be raised: its thread stands where it stood."""
        if not self.points:
            return False  # before this frame, which may be that thread's, would hold itself
        frame, first = sys._current_frames().get(self.thread or 0), self.points[0]
        while frame is not None:
            if frame.f_code is first.code and frame.f_lasti == first.offset:
                return True
            frame = frame.f_back
        return False


@dataclass(frozen=True)
class Fate:
    """What became of an error, as far as it is known when all rests.

    Attributes:
        keeper: the handler that kept it; None where none did, or nobody knows.
        witnessed: it was seen, not read from the bytecode.
        stayed_in: the frame that it never left: the keeper's, or the one whose context manager the
            keeper is.
        narrow: the keeper names just this kind of error; None where that is not known.
        open: another thread is about to raise it; nobody can know yet.
        left: it left the pass: whoever runs the test sees it.
    """

    keeper: Frame | None = None
    witnessed: bool = False
    stayed_in: CodeType | None = None
    narrow: bool | None = None
    open: bool = False
    left: bool = False


def way_here(
    frames: Sequence[FrameType], kind: type[BaseException], let_go: LetGo | None = None
) -> Way:
    """The way of an error that is raised in frames that run.

    Args:
        frames: live frames, outermost first.
        kind: the error's type.
        let_go: is told which frames to expect.
    """
    points = tuple(Point.of(frame) for frame in reversed(frames[-MAX_FRAMES:]))
    if let_go is not None:
        let_go.expect(points)
    return Way(kind, points, let_go, threading.get_ident())


def way_of_suspended(coroutine: object, kind: type[BaseException]) -> Way:
    """The way of an error that is thrown into what a suspended coroutine awaits."""
    points: list[Point] = []
    for link in suspended_chain(coroutine):
        point = _where_suspended(link)
        if point is not None:
            points.append(point)
    return Way(kind, tuple(reversed(points)))


_FRAMES = ("cr_frame", "gi_frame", "ag_frame")


def _where_suspended(link: object, depth: int = 0) -> Point | None:
    for name in _FRAMES:
        frame = getattr(link, name, None) if hasattr(type(link), name) else None
        if isinstance(frame, FrameType):
            return Point.of(frame, exits=tuple(_exits(link, depth)))
    return None


def entered_generators(link: object) -> list[Any]:
    """The generators whose ``with`` block a suspended coroutine is in, the outermost first.

    What is called when such a block is left is on the coroutine's stack.
    """
    found = []
    for one in gc.get_referents(link):
        manager = one.__self__ if type(one) is MethodType else one  # from 3.14 on itself
        if type(manager) in GENERATOR_MANAGERS:
            found.append(vars(manager).get("gen"))
    return found


_MOST_DEEP = 5
GENERATOR_MANAGERS = (contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager)
_STACKS = (contextlib.ExitStack, contextlib.AsyncExitStack)
_PASS = (asyncio.Lock, asyncio.Semaphore, asyncio.BoundedSemaphore, asyncio.Condition)
_UNKNOWN = Exit()


def _exits(suspended: object, depth: int) -> list[Exit]:
    """The ``__exit__`` methods among what a suspended coroutine refers to.

    Its variables come first and its value stack last, so those that wait there are the last ones.
    """
    found: list[Exit] = []
    referents = gc.get_referents(suspended)
    for index, referent in enumerate(referents):
        if type(referent) is MethodType and _is_exit(referent.__func__):
            found.append(_exit_of(referent.__self__, depth))
        elif sys.version_info >= (3, 14) and _is_exit(referent) and index + 1 < len(referents):
            found.append(_exit_of(referents[index + 1], depth))  # unbound, and then its object
        elif type(referent) is _BUILT_IN and referent.__name__ in _EXITS:
            found.append(_UNKNOWN)
    return found


_BUILT_IN = type(len)
_EXITS = ("__exit__", "__aexit__")


def _is_exit(function: object) -> bool:
    return type(function) is FunctionType and function.__name__ in _EXITS


def _exit_of(manager: Any, depth: int) -> Exit:
    """A context manager as data. Known are contextlib's own, and asyncio's that keep nothing."""
    kind = type(manager)
    if depth > _MOST_DEEP:
        return _UNKNOWN
    if kind is contextlib.suppress:
        return Exit(suppresses=tuple(manager._exceptions))
    if kind in GENERATOR_MANAGERS:
        return Exit(generator=_where_suspended(manager.gen, depth + 1))
    if kind in _STACKS:
        pushed = tuple(callback for _, callback in tuple(manager._exit_callbacks))
        return Exit(callbacks=tuple(_exit_of_pushed(one, depth + 1) for one in pushed))
    return Exit(passes=kind in _PASS)


def _exit_of_pushed(callback: Any, depth: int) -> Exit:
    if type(callback) is MethodType and _is_exit(callback.__func__):
        return _exit_of(callback.__self__, depth)
    # The stack wraps what was given to its `callback()`, whose answer it does not ask for.
    wrapped = type(callback) is FunctionType and callback.__code__.co_filename == _CONTEXTLIB
    return Exit(passes=wrapped)


_CONTEXTLIB = contextlib.ExitStack.__exit__.__code__.co_filename
