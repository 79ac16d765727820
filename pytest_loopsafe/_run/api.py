"""The engine without pytest: `run` and `watch`."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from pytest_loopsafe._report.rendering import headline
from pytest_loopsafe._report.report import LoopReport
from pytest_loopsafe._report.text import count
from pytest_loopsafe._run.runner import LoopRun
from pytest_loopsafe._watch.watch import Watch
from pytest_loopsafe._words.settings import LoopFactory, Settings, parse_ignores, parse_own
from pytest_loopsafe._words.whose import TERRITORY, Claim


def run(
    func: Callable[..., Any],
    /,
    *args: Any,
    loops: int = 3,
    schedule: str = "consecutive",
    concurrency: int = 1,
    timeout: float = 30.0,
    strict: bool = False,
    ignore: Iterable[str] = (),
    loop_factory: LoopFactory | None = None,
    own: Iterable[str] = (),
    check: bool = True,
    **kwargs: Any,
) -> LoopReport:
    """Run a function over several loops and report what is bound to the wrong one.

    Args:
        func: an async function: each pass is ``asyncio.run(func(*args, **kwargs))``. Or a sync
            one: each pass is one call, and the loops that it makes itself are watched.
        *args: passed on to `func`.
        loops: how many passes.
        schedule: how the loops follow one another: ``consecutive``, ``recycled``, ``persistent``,
            ``threads``, ``concurrent`` or ``fork``.
        concurrency: how many calls are gathered in each pass (async functions only).
        timeout: seconds that one pass may take before it is ended and reported as LS106.
        strict: count warnings as errors.
        ignore: rules to leave out: ``LS206``, a family ``LS3``, or with an owner glob.
        loop_factory: makes the loop of each pass, such as ``uvloop.new_event_loop``.
        own: packages and paths that are your own code though they are installed; with a ``!``
            before it, what is not. As the ini option ``loopsafe_own``.
        check: raise for errors; with False all is in the report alone.
        **kwargs: passed on to `func`.

    Returns:
        The report: ``results`` has one entry for each pass.

    Raises:
        LoopSafetyError: an error was found, and no exception of the code itself left a pass.
        SettingsError: a setting has a value that is not allowed.
        BlindError: the detectors cannot see on this interpreter.
        RuntimeError: called from inside a running loop.
        BaseException: with `check`, what the code itself raised, in the first pass that failed:
            unchanged, with the findings attached as a note and as ``loopsafe_report``.
    """
    settings = Settings.checked(
        loops=loops,
        schedule=schedule,
        concurrency=concurrency,
        timeout=timeout,
        strict=strict,
        ignore=ignore,
        loop_factory=loop_factory,
    )
    call = functools.partial(func, *args, **kwargs) if args or kwargs else func
    with _claimed(own):
        report = LoopRun(call, settings).execute()
    if check:
        raise_outcome(report)
    return report


def raise_outcome(report: LoopReport) -> None:
    """Raise what a run has to be failed for, if anything.

    Raises:
        LoopSafetyError: for findings of severity error.
        BaseException: what the code itself raised, with the findings attached to it.
    """
    __tracebackhide__ = True
    failed = [one for one in report.passes if one.error is not None]
    hung = any(finding.code == "LS106" for finding in (*report.errors, *report.known))
    if failed and not hung:
        error = failed[0].error
        assert error is not None
        attach(error, report)
        raise error
    report.raise_for_errors()


def attach(error: BaseException, report: LoopReport) -> None:
    """Tell on an exception in which passes it came up, and what was found."""
    failed = [str(one.number) for one in report.passes if one.error is not None]
    total = len(report.passes)
    where = f"raised in pass {failed[0]} of {total}"
    if len(failed) == total > 1:
        where = f"raised in each of {total} passes"
    elif len(failed) > 1:
        where = f"raised in passes {', '.join(failed)} of {total}"
    found = "; ".join(headline(finding) for finding in report.findings)
    more = f"{count(len(report.findings), 'finding')}: {found}" if found else "nothing found"
    error.add_note(f"loopsafe: {where}; {more}")
    with contextlib.suppress(AttributeError):  # a class with __slots__: the note has to do
        error.loopsafe_report = report  # type: ignore[attr-defined]


def _claimed(own: Iterable[str]) -> AbstractContextManager[object]:
    """Where nothing is said, what counts already goes on to count: a pytest session's own."""
    entries = parse_own(own)
    return TERRITORY.claimed(Claim(os.getcwd(), entries)) if entries else contextlib.nullcontext()


@contextmanager
def watch(
    *, strict: bool = False, ignore: Iterable[str] = (), own: Iterable[str] = ()
) -> Iterator[LoopReport]:
    """Watch all loops of the process for the length of a ``with`` block.

    Args:
        strict: count warnings as errors.
        ignore: rules to leave out.
        own: packages and paths that are your own code though they are installed; with a ``!``
            before it, what is not.

    Yields:
        A live report; after the block it is final. Nothing is raised for findings: call
        ``report.raise_for_errors()``.

    Raises:
        SettingsError: `ignore` has an entry that is no rule, or `own` one that is no name.
        BlindError: the detectors cannot see on this interpreter.
    """
    watching = Watch(strict=strict, ignore=parse_ignores(ignore))
    with _claimed(own), watching.as_one_pass() as report:
        yield report
