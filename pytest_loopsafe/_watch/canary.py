"""The canary: before anything is called safe, real hazards must be seen on this interpreter.

Whoever cannot see must not report that nothing is there. Each time the detectors arm, three tiny
real hazards run on loops without a selector (some twenty microseconds, no file descriptor): a
task that awaits another loop's future, a lock bound elsewhere, a call on a closed loop.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.births import LoopBorn
from pytest_loopsafe._probes.instrumentation import Probes, Sighting
from pytest_loopsafe._probes.primitives import PrimitiveRefused
from pytest_loopsafe._probes.scheduling import ForeignAwait
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
    ClosedLoopCall: "a call on a closed loop (LS103)",
}


def sing(probes: Probes) -> None:
    """Run the hazards through freshly installed probes.

    Raises:
        BlindError: when one of them was not seen; the message names it and the interpreter.
    """
    seen = _Seen()
    with probes.only(seen):
        try:
            _hazards()
        except Exception as error:
            raise _blind(list(_MUST_SEE.values())) from error
    missed = [words for kind, words in _MUST_SEE.items() if kind not in seen.kinds]
    if missed:
        raise _blind(missed)


def _blind(missed: list[str]) -> BlindError:
    import platform  # slow to import, and needed only here

    return BlindError(
        f"pytest-loopsafe cannot see {' or '.join(missed)} on {platform.python_implementation()} "
        f"{platform.python_version()}, so it cannot call any test loop-safe. Run these tests on an "
        "interpreter that it supports, or without it (-p no:loopsafe)."
    )


def _hazards() -> None:
    home, other = _cpython.BaseEventLoop(), _cpython.BaseEventLoop()
    try:
        future = home.create_future()
        lock = asyncio.Lock()

        async def bind() -> None:
            lock._get_loop()  # type: ignore[attr-defined]

        async def stray() -> None:
            with suppress(RuntimeError):
                await future
            with suppress(RuntimeError):
                lock._get_loop()  # type: ignore[attr-defined]

        for loop, coroutine in ((home, bind()), (other, stray())):
            task = asyncio.Task(coroutine, loop=loop)
            for _ in range(4):
                _cpython.run_ready(loop)
            task.result()
    finally:
        home.close()
        other.close()
    with suppress(RuntimeError):
        home.call_soon(print)
