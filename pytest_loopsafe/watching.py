"""One watched stretch of code: its loops, its detectors, its findings."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_loopsafe import canary
from pytest_loopsafe.adapters import Adapters
from pytest_loopsafe.detectors import discover
from pytest_loopsafe.detectors.base import Detector, PassEnded, RunEnded
from pytest_loopsafe.findings import Finding, FindingLog
from pytest_loopsafe.heap import HEAP
from pytest_loopsafe.heap_view import HeapView
from pytest_loopsafe.instrumentation import PROCESS, Patches, Probe, Sighting
from pytest_loopsafe.logs import LogBook, Logged, LogProbe
from pytest_loopsafe.loop_births import BirthProbe, LoopBorn
from pytest_loopsafe.loop_lives import LifeProbe, LoopClosed, LoopRan
from pytest_loopsafe.loops import LoopRegistry
from pytest_loopsafe.rules import Ignore
from pytest_loopsafe.stacks import current_stack
from pytest_loopsafe.swallowing import Witness


class LoopsafeWarning(UserWarning):
    """Something is wrong with the watching itself; what was found so far stands."""


def _probes() -> tuple[Probe, ...]:
    own: tuple[Probe, ...] = (BirthProbe(), LifeProbe(), LogProbe())
    by_kind: dict[type, Probe] = {type(probe): probe for probe in own}
    for detector in discover():
        for probe in detector.probes:
            by_kind.setdefault(type(probe), probe)
    return tuple(by_kind.values())


class Watch:
    """Receives sightings while armed, has its detectors judge them, and keeps what they find.

    Args:
        strict: count warnings as errors.
        ignore: rules to leave out.
        subjects: the function under test and its arguments, each with its name.
        adapters: what is known of libraries' clients.
    """

    def __init__(
        self,
        *,
        strict: bool = False,
        ignore: Iterable[Ignore] = (),
        subjects: Iterable[tuple[Any, str]] = (),
        adapters: Adapters | None = None,
    ) -> None:
        self.loops = LoopRegistry()
        self.logs = LogBook()
        self.heap = HeapView(self.loops, subjects, adapters)
        self._log = FindingLog(strict=strict, ignore=ignore, locate=self.heap.path)
        self._witness = Witness()
        self._detectors: list[Detector] = [kind(self.loops, self.heap) for kind in discover()]
        self._lock = threading.Lock()

    @contextmanager
    def armed(self) -> Iterator[Patches]:
        """See what happens for the length of a ``with`` block; yields the patches in force.

        Raises:
            BlindError: when the canary is not seen on this interpreter.
        """
        try:
            with HEAP.set_aside(), PROCESS.armed(_probes(), self, canary.sing) as patches:
                yield patches
        finally:
            self._witness.stop()

    def begin_pass(self, number: int) -> None:
        """What is seen from here on belongs to this pass (from 1)."""
        self.loops.pass_number = number
        PROCESS.look_again()

    def end_pass(self, *errors: BaseException) -> None:
        """Judge what the pass left behind, and which of its errors were swallowed.

        Swallowed are those that are not among `errors`, nor behind one of them.
        """
        self._log.settle(errors, self._witness.keeper)
        # Not while judging: what finalizers do now is to be seen.
        self.heap.collect()
        self.logs.judge(self._log.attach)
        PROCESS.report(self, PassEnded(self.loops.pass_number))

    def end_run(self) -> None:
        """Judge what is left when all has ended."""
        self.heap.collect()
        self.logs.judge(self._log.attach)
        PROCESS.report(self, RunEnded())

    def notes(self) -> tuple[str, ...]:
        """What could not be seen."""
        return (*self.heap.notes, *self.logs.notes())

    def findings(self) -> tuple[Finding, ...]:
        """What has been found so far."""
        return self._log.findings()

    def observe(self, sighting: Sighting) -> None:
        """Number new loops, and pass everything to the detectors that judge it."""
        if isinstance(sighting, Logged):
            self.logs.take(sighting, self.loops.pass_number)
        elif isinstance(sighting, LoopBorn):
            self.loops.born(sighting.loop, current_stack())
            PROCESS.look_again()
        elif isinstance(sighting, LoopRan):
            self.loops.ran(sighting.loop, sighting.code)
        elif isinstance(sighting, LoopClosed):
            self.loops.closed(sighting.loop)
        for detector in tuple(self._detectors):
            if type(sighting) in detector.judges:
                self._consult(detector, sighting)

    def _consult(self, detector: Detector, sighting: Sighting) -> None:
        try:
            for observation in detector.observe(sighting):
                self._log.add(observation, self.loops.pass_number)
                self.heap.tell(observation.about)
                if observation.error is not None:
                    self._witness.follow(observation.error)
        except Exception as error:  # noqa: BLE001 - a fault of ours is never the test's
            with self._lock:
                if detector in self._detectors:
                    self._detectors.remove(detector)
            codes = ", ".join(rule.code for rule in detector.rules)
            warnings.warn(
                f"the detector for {codes} failed and is switched off for the rest of this test: "
                f"{type(error).__name__}: {error}. What it had found stands; please report this.",
                LoopsafeWarning,
                stacklevel=2,
            )
