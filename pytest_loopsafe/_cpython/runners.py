"""Runners: the loop that ``asyncio.run()`` is about to end, who installs one or asks for it.

``Runner.close()`` cancels the tasks that are left before it closes ``_loop``
(``asyncio/runners.py``): what was left is seen only by who looks at that loop first. Then it
installs none, also where there was one before. Until 3.14 nothing public tells which without making
one in the main thread (``BaseDefaultEventLoopPolicy.get_event_loop``).

``get_event_loop()`` asks the policy where no loop runs. On 3.12 and 3.13 the default one warns
where it makes a loop, at the first line up the stack that is in no module of asyncio's, by
``__name__`` (``asyncio/events.py``).
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import events
from contextvars import Context, ContextVar
from types import FunctionType
from typing import Any

from pytest_loopsafe._cpython.topic import TRIAL, Topic, find
from pytest_loopsafe._cpython.trial import trial_loop

LOOP_SETTERS: tuple[Any, ...] = (asyncio, events)
"""Where ``set_event_loop`` is looked up; a Runner calls it through the second."""


def runner_loop(runner: Any) -> asyncio.AbstractEventLoop | None:
    """The loop of a Runner, without making one."""
    loop: asyncio.AbstractEventLoop | None = getattr(runner, "_loop", None)
    return loop


def policies(method: str | None = None) -> tuple[Any, ...]:
    """The classes of policies; those that have a method of their own, to get a loop or set one."""
    pending: list[Any] = [find("events", "AbstractEventLoopPolicy", None)]
    pending += [find("events", "_AbstractEventLoopPolicy", None)]  # from 3.14 on
    found: dict[Any, None] = {}
    while pending:
        kind = pending.pop()
        if kind is not None and kind not in found:
            found[kind] = None
            pending += kind.__subclasses__()
    return tuple(kind for kind in found if method is None or method in vars(kind))


def as_of_asyncio(function: Any) -> Any:
    """A function that asyncio takes for one of its own."""
    namespace = {**function.__globals__, "__name__": events.__name__}
    return FunctionType(function.__code__, namespace, function.__name__, None, function.__closure__)


def runner_context(runner: Any) -> Context | None:
    """What a Runner runs all in, and in which a context variable that it sets stays set."""
    context: Context | None = getattr(runner, "_context", None)
    return context


def _tells_context() -> bool:
    variable: ContextVar[bool] = ContextVar(TRIAL)

    async def set_it() -> None:
        variable.set(True)

    with trial_loop() as loop:
        runner = asyncio.Runner(loop_factory=lambda: loop)
        runner.get_loop()
        context = runner_context(runner)
        task = asyncio.Task(set_it(), loop=loop, context=context, name=TRIAL)
        loop.turn()
        loop.turn()
        return task.done() and context is not None and context.get(variable) is True


def installed_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that this thread has by ``set_event_loop``, without making one.

    None also where a policy of the user's own keeps it somewhere else.
    """
    if sys.version_info >= (3, 14):
        try:
            return asyncio.get_event_loop()
        except RuntimeError:
            return None
    return _kept_by(asyncio.get_event_loop_policy())


def _kept_by(policy: Any) -> asyncio.AbstractEventLoop | None:
    loop: asyncio.AbstractEventLoop | None
    loop = getattr(getattr(policy, "_local", None), "_loop", None)
    return loop


def _tells_loop() -> bool:
    with trial_loop() as loop:
        runner = asyncio.Runner(loop_factory=lambda: loop)
        had_none = runner_loop(runner) is None
        return runner.get_loop() is loop and had_none and runner_loop(runner) is loop


def _sees_setters() -> bool:
    return all(hasattr(owner, "set_event_loop") for owner in LOOP_SETTERS)


def _sees_getters() -> bool:
    sees = all(
        any(getattr(kind, "__module__", "").startswith("asyncio.") for kind in policies(method))
        for method in ("get_event_loop", "set_event_loop")
    )
    return sees and as_of_asyncio(_sees_setters)() is True


def _tells_installed() -> bool:
    if sys.version_info >= (3, 14):
        return True  # by public means
    policy = asyncio.DefaultEventLoopPolicy()
    with trial_loop() as loop:
        had_none = _kept_by(policy) is None
        policy.set_event_loop(loop)
        return had_none and _kept_by(policy) is loop


TOPICS = (
    Topic("a Runner's loop before it ends", ("LS207", "LS301", "LS306"), _tells_loop),
    Topic("what a Runner runs all in", ("LS209",), _tells_context),
    Topic("who installs a loop", ("LS305",), _sees_setters),
    Topic("who asks for the loop that is installed", ("LS305",), _sees_getters),
    Topic("which loop is installed", (), _tells_installed),
)
