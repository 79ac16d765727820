"""Whether the running code was entered by the collector, or by a reference count that fell to zero.

A frame that was entered so looks like any other. What tells is its caller: the frame that happened
to run stands at an instruction that lets something go (it stores, deletes, pops, returns), and no
such instruction calls a function. Where the caller stands at a call, it has called what that call
names; anything else was let go of meanwhile, by what it called. From 3.12 on this is also where a
function's own variables die, for its frame is gone by then.

Names alone were rejected: ``__del__`` may be called by hand, as ``super().__del__()`` is, a
``weakref.finalize`` is made to be called by hand too, and a function whose only argument is a dead
weak reference need not be that reference's callback.
"""

from __future__ import annotations

import dis
import itertools
import sys
import weakref
from collections.abc import Sequence
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._words.stacks import is_library, local_variables


def _opcodes(*names: str) -> frozenset[int]:
    return frozenset(dis.opmap[name] for name in names if name in dis.opmap)


_LETS_GO = _opcodes(
    *("STORE_FAST", "STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST", "STORE_DEREF"),
    *("STORE_GLOBAL", "STORE_NAME", "DELETE_FAST", "DELETE_DEREF", "DELETE_GLOBAL", "DELETE_NAME"),
    *("POP_TOP", "POP_EXCEPT", "POP_ITER", "END_FOR", "RETURN_VALUE", "RETURN_CONST"),
)
"""Instructions that may drop the last reference to something, and can call nothing else."""

_LETS_GO_OR_SETS = _opcodes(
    "STORE_ATTR", "STORE_SUBSCR", "STORE_SLICE", "DELETE_ATTR", "DELETE_SUBSCR"
)
"""Instructions that may also call a property's setter, ``__setitem__`` and the like."""

_CALLS = _opcodes("CALL", "CALL_KW", "CALL_FUNCTION_EX")
_ATTRIBUTES = _opcodes("STORE_ATTR", "DELETE_ATTR")
_SHIFTS = {"LOAD_GLOBAL": 1, "LOAD_SUPER_ATTR": 2, "LOAD_ATTR": int(sys.version_info >= (3, 12))}
_LOADS = {
    dis.opmap[name]: (of_variables, _SHIFTS.get(name, 0))
    for of_variables, names in {
        False: ("LOAD_NAME", "LOAD_METHOD", "LOAD_GLOBAL", "LOAD_ATTR", "LOAD_SUPER_ATTR"),
        True: ("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_DEREF"),
    }.items()
    for name in names
    if name in dis.opmap
}
"""Instructions that load a callee: whether from a variable, and how far its index is shifted."""

_GENERATORS = CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR
_SHOWS_VARIABLES = frozenset({"locals", "vars", "dir", "eval", "exec", "_getframe", "currentframe"})
_FINALIZE = weakref.finalize.__call__.__code__
_CONTEXT: Any = vars(BaseException)["__context__"]
_TRACEBACK: Any = vars(BaseException)["__traceback__"]


def in_finalizer(frames: Sequence[FrameType]) -> bool:
    """Whether the running code was entered by the collector or a reference count, not by a call.

    Ways in: ``__del__``; the callback of a weak reference; ``weakref.finalize``; and a suspended
    coroutine or generator that is collected, whose ``finally`` blocks then run.

    Args:
        frames: the live frames of the running code, outermost first.
    """
    return _in_collected_generator(frames) or any(_is_entry(frame) for frame in reversed(frames))


def _in_collected_generator(frames: Sequence[FrameType]) -> bool:
    error = sys.exception()
    while error is not None:
        trace = _TRACEBACK.__get__(error) if type(error) is GeneratorExit else None
        if trace is not None and any(trace.tb_frame is frame for frame in frames):
            frame: FrameType = trace.tb_frame
            # An async generator's is somebody's aclose(): the loop's at its end, or aclosing()'s.
            is_async = frame.f_code.co_flags & CO_ASYNC_GENERATOR
            return not is_async and _called_by(frame.f_back) not in ("close", "throw")
        error = _CONTEXT.__get__(error)
    return False


def _is_entry(frame: FrameType) -> bool:
    """Whether a frame was entered by what lets things go."""
    code, caller = frame.f_code, frame.f_back
    if caller is None or code.co_flags & _GENERATORS:
        return False
    if code is _FINALIZE:  # the reference that died is its argument, by hand there is none
        return local_variables(frame).get("_") is not None
    if code.co_name == "__del__":
        return _called_by(caller) != "__del__"
    stands_at = _opcode(caller.f_code, caller.f_lasti)
    if stands_at in _LETS_GO or (stands_at in _LETS_GO_OR_SETS and code.co_argcount == 1):
        return True
    return (
        _is_made_for_the_end(frame)
        and _called_by(caller) != code.co_name
        and not _hands_on(caller, code)
    )


def _at(code: CodeType, offset: int) -> int:
    """The index of the instruction at an offset; what follows one is its inline cache."""
    index = offset // 2
    while index > 0 and code.co_code[index * 2] == _CACHE:
        index -= 1
    return index


_CACHE = dis.opmap["CACHE"]


def _opcode(code: CodeType, offset: int) -> int:
    return code.co_code[_at(code, offset) * 2] if offset >= 0 else -1


def _called_by(frame: FrameType | None) -> str | None:
    """The name of what a frame calls, or sets, at this moment; None where it does neither by name.

    Of all that is loaded for a call, the callee alone begins where the call begins.
    """
    if frame is None or frame.f_lasti < 0:
        return None
    code, index = frame.f_code, _at(frame.f_code, frame.f_lasti)
    opcode = code.co_code[index * 2]
    if opcode in _ATTRIBUTES:
        return code.co_names[_argument(code, index)]
    if opcode not in _CALLS:
        return None
    upto = itertools.islice(code.co_positions(), index + 1)
    places = [(line, column) for line, _, column, _ in upto]
    for before in range(index - 1, -1, -1):
        opcode = code.co_code[before * 2]
        if places[before] == places[index] and opcode in _LOADS:
            of_variables, shift = _LOADS[opcode]
            number = _argument(code, before) >> shift
            return _variables(code)[number] if of_variables else code.co_names[number]
    return None


def _variables(code: CodeType) -> tuple[str, ...]:
    """The names of a function's variables as its instructions count them."""
    cells = tuple(name for name in code.co_cellvars if name not in code.co_varnames)
    return (*code.co_varnames, *cells, *code.co_freevars)


def _argument(code: CodeType, index: int) -> int:
    value, shift = code.co_code[index * 2 + 1], 8
    while index and code.co_code[(index - 1) * 2] == dis.EXTENDED_ARG:
        index -= 1
        value |= code.co_code[index * 2 + 1] << shift
        shift += 8
    return value


def _is_made_for_the_end(frame: FrameType) -> bool:
    """Whether a function was given a weak reference to what is gone, or is its object's deletion.

    The latter under another name: ``__del__ = close``.
    """
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount]
    is_method = names[:1] in (("self",), ("cls",))
    if len(names) != 1 + is_method and names != ("self",):
        return False
    # Before 3.13 asking for variables changes what an earlier `locals()` of the code has given.
    harmless = sys.version_info >= (3, 13) or _SHOWS_VARIABLES.isdisjoint(code.co_names)
    if not harmless and not is_library(code.co_filename):
        return False
    argument: Any = local_variables(frame).get(names[-1])
    kind = type(argument)
    if issubclass(kind, weakref.ref):
        return weakref.ref.__call__(argument) is None
    return names == ("self",) and _deletion(kind) is code


def _deletion(kind: type) -> CodeType | None:
    """The code of a class's ``__del__``, without asking the class."""
    for cls in _MRO.__get__(kind):
        found = _NAMESPACE.__get__(cls).get("__del__")
        if found is not None:
            return found.__code__ if type(found) is FunctionType else None
    return None


_MRO: Any = vars(type)["__mro__"]
_NAMESPACE: Any = vars(type)["__dict__"]


def _hands_on(caller: FrameType, code: CodeType) -> bool:
    """Whether a loop runs this function now, as the callback that it was given."""
    if caller.f_code.co_qualname != _cpython.CALLBACK_BEGINS:
        return False
    callback = _cpython.timer_callback(local_variables(caller).get("self"))
    while type(callback) is MethodType:
        callback = callback.__func__
    return type(callback) is FunctionType and callback.__code__ is code
