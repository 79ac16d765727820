"""LS209: the process's own handler of a signal, lost to a loop.

``loop.add_signal_handler()`` replaces what ``signal.signal()`` has set up, and the loop's end, or
``remove_signal_handler()``, leaves the signal's default action behind (cpython #88378).

Evidence: a function of the user's own handled the signal when the pass began, and still when the
user's own code gave a loop another handler for it; and when all of the pass rests, the signal has
its default action. Who puts the handler back has lost nothing. What a pass sets up itself may have
been for the time before its loop, and is not judged.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType
from typing import Any

from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.setups import SIGNALS, SetUp, SetupProbe, process_handler
from pytest_loopsafe._probes.tasks import called_code
from pytest_loopsafe._rules.base import Detector, PassBegun, PassEnded, loop_births
from pytest_loopsafe._rules.ls209 import NOT_REPEATED
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Severity
from pytest_loopsafe._words.stacks import Frame, Stack, is_library, is_own, stack_here

_REMEDY = (
    "Keep what signal.getsignal() gives before add_signal_handler(), and put it back with "
    "signal.signal() when the loop has ended; or let the loop's handler do what the process's did, "
    "and set up one of them again for each run."
)


class SignalHandlerLost(Detector):
    """LS209 for what a process handles without a loop."""

    rules = (NOT_REPEATED,)
    probes = (SetupProbe(),)
    judges = (SetUp, PassBegun, PassEnded)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._before: dict[int, CodeType] = {}  # by the signal's number
        self._replaced: dict[int, tuple[CodeType, LoopInfo, tuple[Frame, ...]]] = {}

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note what handles signals and who replaces it; report at rest what is gone."""
        if isinstance(sighting, SetUp):
            if sighting.what == "signal handler" and not sighting.refused:
                self._set_up(sighting)
        elif isinstance(sighting, PassBegun):
            codes = {number: called_code(process_handler(number)) for number in SIGNALS}
            self._before = {n: one for n, one in codes.items() if one and _is_users(one)}
        else:
            replaced, self._replaced = self._replaced, {}
            for number, (code, info, frames) in replaced.items():
                if _is_default(process_handler(number)):
                    yield _lost(number, code, info, frames)

    def _set_up(self, seen: SetUp) -> None:
        number, code = seen.place, called_code(seen.before)
        if type(number) is int and code is not None and self._before.get(number) is code:
            self._replaced[number] = code, self.loops.of(seen.loop), stack_here()


def _is_default(handler: Any) -> bool:
    """Whether this is what a loop leaves behind where it had a handler."""
    is_number = type(handler) is int and handler == signal.SIG_DFL
    return is_number or handler is signal.default_int_handler


def _is_users(code: CodeType) -> bool:
    return not is_library(code.co_filename) and not is_own(code.co_filename)


def _lost(number: int, code: CodeType, info: LoopInfo, frames: tuple[Frame, ...]) -> Observation:
    name = f"signal {number}"
    with suppress(ValueError):  # one of the real-time ones, which have no names
        name = signal.Signals(number).name
    return Observation(
        Finding(
            NOT_REPEATED,
            f"{code.co_qualname}() handled {name} in this process before {info}, whose "
            f"add_signal_handler() replaced it; {info} has ended, and nothing handles {name} now",
            None,
            info,
            (Stack("it was replaced here", frames), *loop_births(info)),
            _REMEDY,
        ),
        severity=Severity.WARNING,
    )
