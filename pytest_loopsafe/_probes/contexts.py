"""Seeing asynchronous contexts that are entered by hand, and where they are left.

What ``async with`` enters it leaves, in the same frame and so in the same loop: that is told by the
instruction at which ``__aenter__`` is called, and nothing is noted of it. What is entered by a call
(``await lifespan.__aenter__()``, ``await stack.enter_async_context(session)``) has to be left by
one, and there it is forgotten.

An exit stack counts from the first asynchronous context that is entered into it: files and plain
callbacks have no loop. One that ``async with`` has entered is left by that, until ``pop_all()``
hands on what it holds.

Seen are ``@asynccontextmanager`` functions, exit stacks and task groups, asyncio's and anyio's. A
class of the user's that is entered by hand is not; into a stack it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import dis
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import AsyncGeneratorType, FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._words.answers import Place, places
from pytest_loopsafe._words.texts import type_name
from pytest_loopsafe._words.ways import GENERATOR_MANAGERS

_DEPTH = 12
"""So many frames outwards are kept of where a context was entered."""

_MOST_NAMED = 3


@dataclass(frozen=True)
class ContextEntered(Sighting):
    """A context was entered by hand.

    Attributes:
        context: the context.
        loop: the running loop; None where none runs, and `coroutine` is to be run by one.
        coroutine: what ``__aenter__`` gave.
        where: the frames that did it, innermost first.
        what: its name, for people.
    """

    context: Any
    loop: asyncio.AbstractEventLoop | None
    coroutine: Any
    where: tuple[Place, ...]
    what: str


@dataclass(frozen=True)
class ContextLeft(Sighting):
    """Such a context is left; as `ContextEntered`."""

    context: Any
    loop: asyncio.AbstractEventLoop | None
    coroutine: Any


class _Stack:
    """What is known of one exit stack: whether a frame leaves it, and what was entered into it."""

    __slots__ = ("framed", "names", "ref")

    def __init__(self, ref: weakref.ref[Any]) -> None:
        self.ref = ref
        self.framed = False
        self.names: list[str] = []


class ContextProbe:
    """Sees contexts that are entered and left by calls."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the two methods of each kind, and those of a stack that enter something into it."""
        _Hooks(patches, emit).install()


class _Hooks:
    def __init__(self, patches: Patches, emit: Emit) -> None:
        self._patches = patches
        self._emit = emit
        self._open: dict[int, weakref.ref[Any]] = {}
        self._stacks: dict[int, _Stack] = {}

    def install(self) -> None:
        replace, stack = self._patches.replace, contextlib.AsyncExitStack
        for kind in (_OF_GENERATOR, asyncio.TaskGroup):
            self._hook(kind)
        self._patches.when_imported("anyio._backends._asyncio", "TaskGroup", self._hook)
        replace(stack, "__aenter__", self._build_stack_entered)
        replace(stack, "__aexit__", self._build_left)
        for name in ("enter_async_context", "push_async_exit"):
            replace(stack, name, self._build_into_stack)
        replace(stack, "pop_all", self._build_handed_on)

    def _hook(self, kind: Any) -> None:
        self._patches.replace(kind, "__aenter__", self._build_entered)
        self._patches.replace(kind, "__aexit__", self._build_left)

    def _build_entered(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def __aenter__(context: Any) -> Any:  # noqa: N807
            coroutine, frame = original(context), sys._getframe(1)
            # What a stack enters it leaves.
            if frame.f_globals is not _OF_STACKS and not _by_async_with(frame):
                self._note(context, coroutine, frame, _name(context))
            return coroutine

        return __aenter__

    def _build_left(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def __aexit__(context: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            coroutine = original(context, *args, **kwargs)
            ref = self._open.pop(id(context), None)
            if ref is not None and ref() is context:
                self._emit(ContextLeft(context, _cpython.get_running_loop(), coroutine))
            return coroutine

        return __aexit__

    def _build_stack_entered(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def __aenter__(stack: Any) -> Any:  # noqa: N807
            if _by_async_with(sys._getframe(1)):
                self._of(stack).framed = True
                self._open.pop(id(stack), None)
            return original(stack)

        return __aenter__

    def _build_into_stack(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def enter(stack: Any, *args: Any, **kwargs: Any) -> Any:
            entered = original(stack, *args, **kwargs)
            known, [context] = self._of(stack), [*args, *kwargs.values()]
            if len(known.names) < _MOST_NAMED:
                known.names.append(_name(context))
            what = f"an {type_name(stack)} with {', '.join(known.names)}"
            if not known.framed and id(stack) not in self._open:
                coroutine = entered if original.__name__ == "enter_async_context" else None
                self._note(stack, coroutine, sys._getframe(1), what)
            return entered

        return enter

    def _build_handed_on(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def pop_all(stack: Any) -> Any:
            new, known = original(stack), self._stacks.get(id(stack))
            if known is None or known.ref() is not stack:
                return new
            ref = self._open.pop(id(stack), None)
            if ref is not None:
                self._emit(ContextLeft(stack, _cpython.get_running_loop(), None))
            if known.names:
                self._of(new).names, known.names = known.names, []
                what = f"an {type_name(new)} with {', '.join(self._of(new).names)}"
                self._note(new, None, sys._getframe(1), what)
            return new

        return pop_all

    def _note(self, context: Any, coroutine: Any, frame: FrameType, what: str) -> None:
        key = id(context)

        def forget(ref: weakref.ref[Any]) -> None:
            if self._open.get(key) is ref:
                del self._open[key]

        self._open[key] = weakref.ref(context, forget)
        loop = _cpython.get_running_loop()
        self._emit(ContextEntered(context, loop, coroutine, places(frame, _DEPTH), what))

    def _of(self, stack: Any) -> _Stack:
        key = id(stack)
        known = self._stacks.get(key)
        if known is None or known.ref() is not stack:

            def forget(ref: weakref.ref[Any]) -> None:
                current = self._stacks.get(key)
                if current is not None and current.ref is ref:
                    del self._stacks[key]

            known = self._stacks[key] = _Stack(weakref.ref(stack, forget))
        return known


def is_entered(context: Any) -> bool:
    """Whether there is anything to be left: what fails before its ``yield`` was never entered."""
    if type(context) is _OF_GENERATOR:
        generator = vars(context).get("gen")
        return type(generator) is not AsyncGeneratorType or generator.ag_frame is not None
    if issubclass(type(context), contextlib.AsyncExitStack):
        return bool(vars(context).get("_exit_callbacks", True))
    return True


_OF_STACKS = vars(contextlib)
_, _OF_GENERATOR = GENERATOR_MANAGERS


def _name(context: Any) -> str:
    if type(context) is _OF_GENERATOR:
        generator = vars(context).get("gen")
        if type(generator) is AsyncGeneratorType:
            return f"{generator.__qualname__.rpartition('<locals>.')[2]}()"
    return type_name(context)


def _by_async_with(frame: FrameType) -> bool:
    """Whether a method is called by ``async with``, and not by a call that the code has written."""
    code, at = frame.f_code.co_code, frame.f_lasti
    if _BEFORE is not None:
        return code[at] == _BEFORE
    # From 3.14 on the method is looked up by one instruction and called by the next.
    return code[at] == _CALL and at >= _UNIT and code[at - _UNIT] == _LOAD_SPECIAL


_BEFORE = dis.opmap.get("BEFORE_ASYNC_WITH")
_CALL = dis.opmap["CALL"]
_LOAD_SPECIAL = dis.opmap.get("LOAD_SPECIAL")
_UNIT = 2
