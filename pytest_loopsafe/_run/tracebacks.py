"""What an error that left a pass still holds: frames of ours, and its own frames' locals."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType

from pytest_loopsafe._words.errors import error_chain
from pytest_loopsafe._words.stacks import is_own


def hide_scaffolding(error: BaseException) -> None:
    """Cut our frames and asyncio's off the head of a traceback: it then begins with the code."""
    trace = error.__traceback__
    while trace is not None and _is_scaffolding(trace.tb_frame):
        trace = trace.tb_next
    if trace is not None:
        error.__traceback__ = trace


def hide_between(error: BaseException) -> None:
    """Take our frames out of the middle of a traceback, and out of those of its causes.

    A patched function of asyncio's stands between two frames of others there. Ours at the end
    stay: they have raised it.
    """
    for link in error_chain(error):
        before = link.__traceback__
        while before is not None:
            after = before.tb_next
            while after is not None and is_own(after.tb_frame.f_code.co_filename):
                after = after.tb_next
            if after is not None:
                before.tb_next = after
            before = before.tb_next if after is not None else None


def _is_scaffolding(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return is_own(file) or file.startswith(os.path.dirname(asyncio.__file__))


def release_locals(error: BaseException) -> None:
    """Clear the finished frames of an error that is kept while another pass runs.

    Their locals hold clients and loops of the pass that ended. In production nobody keeps them,
    and a loop kept alive cannot give its ``id()`` to the next one.
    """
    chains: list[list[FrameType]] = []
    for link in error_chain(error):
        trace = link.__traceback__
        while trace is not None:
            # And the frames that called it, which no traceback lists: run_until_complete's, the
            # loop's own.
            frame: FrameType | None = trace.tb_frame
            chains.append([])
            while frame is not None:
                chains[-1].append(frame)
                frame = frame.f_back
            trace = trace.tb_next
    alive = _suspended({frame for chain in chains for frame in chain})
    for chain in chains:
        for frame in chain:
            if frame in alive:
                continue
            try:
                frame.clear()
            except RuntimeError:  # it still runs, and so does all that called it
                break


def _suspended(frames: set[FrameType]) -> set[FrameType]:
    """Those of coroutines and generators that have caught the error, and live on.

    From 3.13 on ``clear()`` refuses them. Before that it ends them, with GeneratorExit.
    """
    flags = CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR
    candidates = [frame for frame in frames if frame.f_code.co_flags & flags]
    if sys.version_info >= (3, 13) or not candidates:
        return set()
    return {
        frame
        for one in gc.get_referrers(*candidates)
        if isinstance(one, CoroutineType | GeneratorType | AsyncGeneratorType)
        for frame in candidates
        if frame in (getattr(one, f"{prefix}_frame", None) for prefix in ("cr", "gi", "ag"))
    }
