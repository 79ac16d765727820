"""The canary: before anything is called safe, real hazards must be seen on this interpreter.

Whoever cannot see must not report that nothing is there. Each time the detectors arm, four tiny
real hazards run on loops without a selector (some fifty microseconds, no file descriptor): a task
that awaits another loop's future, a lock bound elsewhere, a lock held across a suspension, a call
on a closed loop. They run twice, since a loop that runs in its thread is scheduled on by a shorter
way (`pytest_loopsafe._probes.scheduling`). Without these nothing can be called safe, and nothing is
judged.

What else is private of asyncio has a canary for each topic (`pytest_loopsafe._cpython`), sung once
in each process. Where one falls silent its rules may miss something, and each report says so; the
others still judge. Rejected: to refuse there too (one renamed class in a new CPython would take
LS101 from everybody), and to drop what such rules find (what is seen was there).
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import suppress

from pytest_loopsafe import _cpython
from pytest_loopsafe._cpython import Topic
from pytest_loopsafe._cpython.topic import TRIAL
from pytest_loopsafe._probes.births import LoopBorn
from pytest_loopsafe._probes.instrumentation import Probes, Sighting
from pytest_loopsafe._probes.primitives import PrimitiveRefused
from pytest_loopsafe._probes.scheduling import ForeignAwait
from pytest_loopsafe._probes.uses import CouldWait
from pytest_loopsafe._rules.ls103 import ClosedLoopCall


class BlindError(RuntimeError):
    """The detectors do not see on this interpreter what they must see; nothing can be judged."""


class _Seen:
    def __init__(self) -> None:
        self.kinds: set[type[Sighting]] = set()

    def observe(self, sighting: Sighting) -> None:
        self.kinds.add(type(sighting))

    def before_fork(self) -> None:
        """The canary forks nothing."""

    def forked(self, parent: int) -> bool:
        """Nor does it go on elsewhere."""
        return False


_MUST_SEE: dict[type[Sighting], str] = {
    LoopBorn: "the making of a loop",
    ForeignAwait: "a cross-loop await (LS101)",
    PrimitiveRefused: "a foreign primitive (LS102)",
    CouldWait: "a lock held across a suspension (LS107)",
    ClosedLoopCall: "a call on a closed loop (LS103)",
}


def sing(probes: Probes) -> tuple[Topic, ...]:
    """Run the hazards through freshly installed probes.

    Returns:
        The topics that are not seen on this interpreter.

    Raises:
        BlindError: when one of them was not seen; the message names it and the interpreter.
    """
    for threaded in (True, False):
        seen = _Seen()
        with probes.only(seen):
            try:
                _hazards(threaded)
            except Exception as error:
                raise _refusal(list(_MUST_SEE.values())) from error
        missed = [words for kind, words in _MUST_SEE.items() if kind not in seen.kinds]
        if missed:
            raise _refusal(missed)
    with probes.only(_Seen()):
        return _blind()


_blind = functools.cache(_cpython.blind)
"""Once in each process: the interpreter stays the same."""


def note(topic: Topic) -> str:
    """What a report says of a topic that is not seen."""
    blinded = f"{', '.join(topic.blinds)} may miss hazards" if topic.blinds else "reports say less"
    return f"cannot see {topic.name} on {_interpreter()}: {blinded}"


def _refusal(missed: list[str]) -> BlindError:
    return BlindError(
        f"pytest-loopsafe cannot see {' or '.join(missed)} on {_interpreter()}, so it cannot call "
        "any test loop-safe. Run these tests on an interpreter that it supports, or without it "
        "(-p no:loopsafe)."
    )


def _interpreter() -> str:
    import platform  # slow to import, and needed only here

    return f"{platform.python_implementation()} {platform.python_version()}"


def _hazards(threaded: bool) -> None:
    home, other = _cpython.BaseEventLoop(), _cpython.BaseEventLoop()
    try:
        future = home.create_future()
        lock = asyncio.Lock()

        async def bind() -> None:
            _cpython.bind(lock)
            async with asyncio.Lock():
                await asyncio.sleep(0)

        async def stray() -> None:
            with suppress(RuntimeError):
                await future
            with suppress(RuntimeError):
                _cpython.bind(lock)

        for loop, coroutine in ((home, bind()), (other, stray())):
            task = asyncio.Task(coroutine, loop=loop, name=TRIAL)
            for _ in range(4):
                _cpython.run_ready(loop, threaded=threaded)
            task.result()
    finally:
        home.close()
        other.close()
    with suppress(RuntimeError):
        home.call_soon(print)
