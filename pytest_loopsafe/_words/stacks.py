"""Reading stacks: of the code that runs now, and of a task that is suspended.

Nothing here keeps a frame alive. A frame object holds its locals, these hold clients, and clients
hold loops; so a stack is copied at once into plain data (file, line, function), and the source
line is looked up only when somebody prints it.
"""

from __future__ import annotations

import gc
import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from inspect import CO_OPTIMIZED
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
)
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._words.sources import is_of_project
from pytest_loopsafe._words.whose import SCAFFOLDING, TERRITORY, Whose
from pytest_loopsafe._words.whose import is_library as is_library
from pytest_loopsafe._words.whose import is_own as is_own
from pytest_loopsafe._words.whose import is_stdlib as is_stdlib

MAX_FRAMES = 60
"""A stack keeps its innermost frames only: beyond this many, nobody reads on."""


@dataclass(frozen=True)
class Frame:
    """One line of a stack.

    Attributes:
        file: the absolute path, or what stands for one (``<string>``).
        line: the line number, from 1.
        function: the qualified name of the function.
        first_line: where the function begins; it tells two functions of one name apart.
        library: True for the standard library and for installed libraries, False for the user's own
            code; settled where the code runs, for whoever reads of it may have other things
            installed.
        told: True where another process has said so: of its files only the project's are read.
    """

    file: str
    line: int
    function: str
    first_line: int = 0
    library: bool = field(default=None, compare=False)  # type: ignore[assignment]
    told: bool = field(default=False, compare=False, metadata={"travels": False})

    def __post_init__(self) -> None:
        if self.library is None:
            object.__setattr__(self, "library", is_library(self.file))

    @property
    def code(self) -> str:
        """The source line, stripped; empty where there is no source."""
        if self.told and not is_of_project(self.file):
            return ""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


@dataclass(frozen=True)
class Stack:
    """A titled stack, outermost frame first, as in a traceback."""

    title: str
    frames: tuple[Frame, ...]

    @property
    def site(self) -> Frame | None:
        """The innermost frame of the user's own code, else the innermost of all."""
        for frame in reversed(self.frames):
            if not frame.library:
                return frame
        return self.frames[-1] if self.frames else None


def module_file(name: str) -> str:
    """The file of a loaded module; of one that has none, what stands for the interpreter."""
    file = _cpython.namespace_of(sys.modules.get(name)).get("__file__")
    return file if isinstance(file, str) else "<frozen"


_MANY = 20_000


def _frame(code: CodeType, line: int | None) -> Frame:
    """A line of code as data, the same for each time that it is met: a stack then takes no memory.

    Known by the ``id()`` of the code, which is kept so that the number stays its own; to hash a
    code would read all of it.
    """
    known = TERRITORY.view.lines
    entry = known.get((id(code), line))
    if entry is not None:
        frame: Frame = entry[1]
        return frame
    first = code.co_firstlineno
    frame = Frame(code.co_filename, line or first, code.co_qualname, first)
    if len(known) >= _MANY:
        known.clear()
    known[id(code), line] = (code, frame)
    return frame


def handler_frame(code: CodeType, offset: int) -> Frame:
    """The ``except`` of a code object, from the offset that ``sys.monitoring`` gives for it.

    The offset is that of the handler's first instruction, ``PUSH_EXC_INFO``, which belongs to no
    source line of its own; the one after it (an instruction is two bytes) is the ``except``.
    """
    offset += 2
    line = None
    for start, end, number in code.co_lines():
        if start <= offset < end:
            line = number
            break
    return _frame(code, line)


_OUTSIDE = frozenset({Whose.PYTEST, Whose.LAUNCHER})


def current_stack(start: FrameType | None = None) -> tuple[Frame, ...]:
    """The stack of the running code (or from `start` outwards), outermost first.

    Frames of this package are left out, and all that lies outside the test: pytest's and
    pluggy's frames, the launcher below them, and who called for a run.
    """
    frame: FrameType | None = start if start is not None else sys._getframe(1)
    frames: list[Frame] = []
    whose = TERRITORY.view.whose
    while frame is not None and len(frames) < MAX_FRAMES:
        code = frame.f_code
        who = whose[code.co_filename]
        if who in _OUTSIDE:
            break
        if who not in SCAFFOLDING:
            frames.append(_frame(code, frame.f_lineno))
        frame = frame.f_back
    frames.reverse()
    return tuple(frames)


def stack_here() -> tuple[Frame, ...]:
    """The running code's stack; where a task has none of the user's frames, its waiter's before it.

    ``gather(client.close(), ...)`` makes a task of each of its arguments. Such a task runs library
    code alone, and the line that a reader looks for is in the task that waits for it.
    """
    frames = current_stack(sys._getframe(1))
    own = frames[_task_begins(frames) :]
    task = _cpython.current_task()
    if task is None or any(not frame.library for frame in own):
        return frames
    return waiters_frames(task) + own


def _task_begins(frames: tuple[Frame, ...]) -> int:
    for index in range(len(frames) - 1, -1, -1):
        if frames[index].function == _cpython.CALLBACK_BEGINS:
            return index + 1
    return 0


def waiters_frames(task: Any) -> tuple[Frame, ...]:
    """The frames of the tasks that wait for a task, up to the first with code of the user's."""
    found: tuple[Frame, ...] = ()
    for _ in range(5):
        task = _cpython.awaiter_of(task)
        if task is None:
            break
        frames, _ = suspended_frames(task.get_coro())
        found = describe_frames(frames) + found
        if any(not frame.library for frame in found):
            break
    return found


def live_frames() -> list[FrameType]:
    """The live frames of the running code, outermost first, ours left out. Not to be kept."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    whose = TERRITORY.view.whose
    while frame is not None:
        who = whose[frame.f_code.co_filename]
        if who is Whose.PYTEST:
            break
        if who not in SCAFFOLDING:
            frames.append(frame)
        frame = frame.f_back
    frames.reverse()
    return frames


def local_variables(frame: FrameType) -> dict[str, Any]:
    """A copy of a frame's local variables that leaves nothing behind.

    Before 3.13 a frame keeps the dictionary that ``f_locals`` gives, and with it whatever the
    variables held at that moment, for as long as the function runs: the code under test would no
    longer free what it frees in production. So it is emptied again, unless somebody else has it
    (the code's own ``locals()`` is the same dictionary) or it is a module's or a class's namespace.
    """
    variables = frame.f_locals
    copied = dict(variables)
    if (
        sys.version_info < (3, 13)
        and frame.f_code.co_flags & CO_OPTIMIZED
        and sys.getrefcount(variables) <= _NOBODY_ELSE
    ):
        variables.clear()
    return copied


def unnoticed_variables(frame: FrameType) -> dict[str, Any]:
    """The same of code that runs, where it cannot notice that they are read; else none.

    Before 3.13 a frame's variables are one dictionary: to read them changes what an earlier
    ``locals()`` of its code has given. So code that may have such a dictionary is left alone.
    """
    asks = sys.version_info < (3, 13) and not _ASKS_FOR_LOCALS.isdisjoint(frame.f_code.co_names)
    return {} if asks else local_variables(frame)


def first_argument(frame: FrameType) -> Any:
    """The first argument of a function that runs in a frame, a method's own object; or None."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount]
    return unnoticed_variables(frame).get(names[0]) if names else None


_ASKS_FOR_LOCALS = frozenset({"locals", "vars", "dir", "eval", "exec", "breakpoint"})


def users_here() -> tuple[Any, ...]:
    """The objects whose methods run now, the innermost first. Not to be kept."""
    users = [first_argument(one) for one in reversed(live_frames()) if is_method(one.f_code)]
    return tuple(one for one in users[:_MAX_USERS] if one is not None)


def users_of(coroutine: object) -> tuple[Any, ...]:
    """The objects whose methods are suspended in a coroutine, the innermost first. Not to be kept.

    A suspended coroutine refers to its variables in their order, the first argument before all
    others. So nothing of its frame has to be read.
    """
    users: list[Any] = []
    for link in suspended_chain(coroutine):
        code = getattr(link, "cr_code", None)
        if code is not None and is_method(code):
            held = (one for one in gc.get_referents(link) if type(one) not in _NO_ARGUMENTS)
            users += [one for one in (next(held, None),) if one is not None]
    users.reverse()
    return tuple(users[:_MAX_USERS])


def is_method(code: CodeType) -> bool:
    """Whether a function was defined in a class, and its first argument is its own object."""
    return code.co_argcount > 0 and "." in code.co_qualname.rpartition("<locals>.")[2]


_MAX_USERS = 20
_NO_ARGUMENTS = (str, CodeType, FunctionType, dict, FrameType)
"""What a coroutine refers to before its variables: its names, its function, its globals."""

_NOBODY_ELSE = 3
"""References to a dictionary of local variables: the frame's, our variable's, the argument's."""


def suspended_chain(awaitable: object) -> Iterator[object]:
    """Follow what a suspended coroutine awaits, from the coroutine down to what it waits for.

    Each coroutine, generator and async generator names the next one: ``cr_await``,
    ``gi_yieldfrom``, ``ag_await``. Between them lie objects of C types that name nothing
    (``coroutine_wrapper``, ``async_generator_asend``, ``anext_awaitable``, an iterator of a
    foreign type); there the collector's view of what they refer to goes on. The chain ends at an
    object with nothing to follow: for an awaited future that is its C iterator.
    """
    seen: set[int] = set()
    current: object | None = awaitable
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = _next_link(current)


_LINKS = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))


def _next_link(link: object) -> object | None:
    for frame, inner in _LINKS:
        if hasattr(type(link), frame):
            following: object | None = getattr(link, inner, None)
            return following
    referents: list[object] = gc.get_referents(link)
    return next((one for one in referents if _is_link(type(one))), None)


def _is_link(kind: type) -> bool:
    # A coroutine compiled by Cython (all of asyncpg's) is of a type of its own, with cr_frame.
    return kind in _LINK_TYPES or kind.__name__ in _C_LINKS or hasattr(kind, "cr_frame")


_LINK_TYPES = (CoroutineType, GeneratorType, AsyncGeneratorType)
_C_LINKS = frozenset({"async_generator_asend", "async_generator_athrow", "anext_awaitable"})
"""Types without a name in Python: what ``__anext__()``, ``athrow()`` and ``anext(_, x)`` give."""


def suspended_frames(awaitable: object) -> tuple[list[FrameType], object]:
    """The live frames of a suspended coroutine, outermost first, and what the last one awaits.

    The frames are for the caller's eyes only: whoever keeps one keeps all that it refers to.
    """
    frames: list[FrameType] = []
    last: object = awaitable
    for link in suspended_chain(awaitable):
        last = link
        for name, _ in _LINKS:
            frame = getattr(link, name, None)
            if isinstance(frame, FrameType):
                frames.append(frame)
                break
    return frames, last


def describe_frames(frames: list[FrameType]) -> tuple[Frame, ...]:
    """Copy live frames into plain data, leaving our own out."""
    return tuple(
        _frame(frame.f_code, frame.f_lineno)
        for frame in frames
        if not is_own(frame.f_code.co_filename)
    )


def summary_frames(extracted: Any) -> tuple[Frame, ...]:
    """Frames from a ``traceback.StackSummary``, as asyncio keeps one in debug mode."""
    return tuple(
        Frame(entry.filename, entry.lineno or 0, entry.name)
        for entry in extracted or ()
        if TERRITORY.view.whose[entry.filename] not in SCAFFOLDING
    )
