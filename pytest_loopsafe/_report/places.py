"""Where something was seen, for people: places, frames and stacks in lines."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pytest_loopsafe._report.text import Span
from pytest_loopsafe._words.findings import Finding
from pytest_loopsafe._words.installed import slashed
from pytest_loopsafe._words.stacks import Frame, Stack
from pytest_loopsafe._words.whose import TERRITORY

_OWN_FRAMES = 2
"""So many of the user's lines are shown of the leading stack: where it was, and who called that."""


def place(frame: Frame | None) -> str:
    """``app/cache.py:41``, relative to where the user stands; installed files by package."""
    if frame is None:
        return "?"
    file = TERRITORY.view.below_site(frame.file)
    if file is None and frame.library:
        file = "/".join(slashed(frame.file).split("/")[-2:])
    return f"{file or _relative(frame.file)}:{frame.line}"


def _relative(file: str) -> str:
    try:
        relative = os.path.relpath(file)
    except (ValueError, OSError):  # on another drive; from a folder that is gone
        return file
    return file if relative.startswith("..") else relative


def site_of(finding: Finding) -> Frame | None:
    """The user's line that a finding is about: where it was seen, else where it began.

    A task of library code alone has no such line of its own; what it is bound to may have one.
    """
    sites = [stack.site for stack in finding.stacks if stack.site is not None]
    return next((site for site in sites if not site.library), sites[0] if sites else None)


def brief_lines(stack: Stack, *, lead: bool) -> Iterator[tuple[Span, ...]]:
    """A stack by the user's own lines; of the leading one with who called it.

    Calls of libraries are left out: what a library was asked for is in the user's line. So is who
    made a loop, where that was none of the user's lines.
    """
    site = stack.site
    if site is None or (site.library and _is_birth(stack)):
        return
    if not lead:
        yield Span(f"  {stack.title}:", ("bold",)), *_with_code(site)
        return
    yield (Span(f"  {stack.title}:", ("bold",)),)
    own = [frame for frame in reversed(stack.frames) if not frame.library] or [site]
    for frame in own[:_OWN_FRAMES]:
        yield Span("   "), *_with_code(frame)


def _with_code(frame: Frame) -> tuple[Span, ...]:
    code = (Span(f"   {frame.code}", ("cyan",), source=True),) if frame.code else ()
    style = ("light",) if frame.library else ()
    return Span(f" {place(frame)} in {frame.function}", style), *code


def full_lines(stack: Stack) -> Iterator[tuple[Span, ...]]:
    """All of a stack, the innermost frame first, up to the user's outermost."""
    frames = list(stack.frames)
    begins = next((at for at, frame in enumerate(frames) if not frame.library), None)
    if begins is None and _is_birth(stack):
        return
    yield (Span(f"  {stack.title}:", ("bold",)),)
    for frame in reversed(frames[begins:]):
        style = ("light",) if frame.library else ()
        yield (Span(f"    {place(frame)} in {frame.function}", style),)
        if frame.code:
            yield (Span(f"      {frame.code}", ("cyan",), source=True),)


def _is_birth(stack: Stack) -> bool:
    return stack.title.endswith(" was made")
