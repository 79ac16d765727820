"""What an error that left a pass still holds: frames of ours, and its own frames' locals."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from traceback import extract_tb, format_list
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType

from pytest_loopsafe._words.errors import error_chain
from pytest_loopsafe._words.stacks import is_own
from pytest_loopsafe._words.texts import full_type_name, plain_text


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


def as_text(error: BaseException, entry: str | None = None) -> str:
    """A traceback for another process to show, from the code under test on, without our frames.

    As `traceback` writes it, but nothing of the code's is called for it.

    Args:
        error: what was raised; what it was raised from, or while handling, comes first.
        entry: the end of the path of the file that called the code under test.
    """
    text = ""
    seen: set[int] = set()
    link: BaseException | None = error
    between = ""
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        frames = [one for one in extract_tb(link.__traceback__) if not is_own(one.filename)]
        for index in reversed(range(len(frames))):
            if entry is not None and frames[index].filename.endswith(entry):
                frames = frames[index + 1 :]
                break
        head = "Traceback (most recent call last):\n" if frames else ""
        said = plain_text(link)
        what = f"{full_type_name(link)}{f': {said}' if said else ''}\n"
        text = f"{head}{''.join(format_list(frames))}{what}{between}{text}"
        between = "\nThe above exception was the direct cause of the following exception:\n\n"
        if (cause := link.__cause__) is None and not link.__suppress_context__:
            cause = link.__context__
            between = "\nDuring handling of the above exception, another exception occurred:\n\n"
        link = cause
    return text


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
