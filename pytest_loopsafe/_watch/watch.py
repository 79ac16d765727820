"""One watched stretch of code: its loops, its rules, its findings. The one way to watch.

Arm; while a pass runs, record; when it has ended, rest and judge; when all have ended, judge what
is left. A run, ``watch()``, an audited test, a Celery worker and a forked child all go this way.

There is one lock, around observing and judging, and it is re-entrant: a finalizer or a signal
handler may come in between, in the same thread. Nothing else is waited for while it is held.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from pytest_loopsafe._adapters import Adapters
from pytest_loopsafe._graph.view import Graph, all_loops
from pytest_loopsafe._ledger.ledger import Ledger
from pytest_loopsafe._probes.births import BirthProbe, LoopBorn
from pytest_loopsafe._probes.instrumentation import PROCESS, Patches, Probe, Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopClosed, LoopRan
from pytest_loopsafe._probes.logs import LogBook, LogProbe
from pytest_loopsafe._probes.records import Logged
from pytest_loopsafe._probes.refusals import Expected
from pytest_loopsafe._probes.swallowing import Witness, read_fate
from pytest_loopsafe._probes.tasks import TaskStarted
from pytest_loopsafe._report.report import Contents, LoopReport
from pytest_loopsafe._rules import discover, judging
from pytest_loopsafe._rules.base import Detector, PassBegun, PassEnded, RunEnded
from pytest_loopsafe._spool.forked import ChildsHand, ForkedChildren
from pytest_loopsafe._spool.writer import SpoolWriter
from pytest_loopsafe._watch import canary
from pytest_loopsafe._watch.faults import Faults
from pytest_loopsafe._watch.finding_log import FindingLog
from pytest_loopsafe._watch.places import Places
from pytest_loopsafe._words.errors import KnownErrors
from pytest_loopsafe._words.findings import Finding, LogLine, Observation, Origin
from pytest_loopsafe._words.loops import LoopRegistry
from pytest_loopsafe._words.rules import Ignore
from pytest_loopsafe._words.stacks import current_stack
from pytest_loopsafe._words.whose import TERRITORY


@functools.cache
def _probes(detectors: tuple[type[Detector], ...]) -> tuple[Probe, ...]:
    own: tuple[Probe, ...] = (BirthProbe(), LifeProbe(), LogProbe())
    by_kind: dict[type, Probe] = {type(probe): probe for probe in own}
    for detector in detectors:
        for probe in detector.probes:
            by_kind.setdefault(type(probe), probe)
    return tuple(by_kind.values())


class _Nobody:
    """Keeps the patches in force between watches, and looks at nothing."""

    def observe(self, sighting: Sighting) -> None:
        """It is for no watch."""

    def before_fork(self) -> None:
        """Nor is this."""

    def forked(self, parent: int) -> bool:
        """In a child there is nothing to keep in force."""
        return False


@contextmanager
def standing_by() -> Iterator[None]:
    """Keep asyncio patched for watch after watch: to arm one then costs microseconds.

    Raises:
        BlindError: when the canary is not seen on this interpreter.
    """
    with PROCESS.armed(_probes(discover()), _Nobody(), canary.sing):
        yield


class Watch:
    """Receives sightings while armed, has its rules judge them, and keeps what they find.

    Args:
        strict: count warnings as errors.
        ignore: rules to leave out.
        subjects: the function under test and its arguments, each with its name.
        adapters: what is known of libraries' clients.
        advice: what to do about a subject, by its name.
        found: told of each new finding at once, with its number; for who must not lose any.
        taken_back: told of the number of one that turned out to be none.
        written: told of each line that is logged at once, with its number.
        entry: the end of a file's path: what is outside of its last frame in a stack is not the
            code under test, but what called it.
        after: the watch before this one, where one stretch of code follows another: loops keep
            their numbers, and what it saw of those that are open is not forgotten.
    """

    def __init__(
        self,
        *,
        strict: bool = False,
        ignore: Iterable[Ignore] = (),
        subjects: Iterable[tuple[Any, str]] = (),
        adapters: Adapters | None = None,
        advice: Mapping[str, str] = MappingProxyType({}),
        found: Callable[[int, Finding], None] = lambda number, finding: None,
        taken_back: Callable[[int], None] = lambda number: None,
        written: Callable[[int, LogLine], None] = lambda number, line: None,
        entry: str | None = None,
        after: Watch | None = None,
    ) -> None:
        self._lock = threading.RLock()
        self._errors = KnownErrors()
        self.loops: LoopRegistry = LoopRegistry(self._lock) if after is None else after.loops
        self.logs = LogBook(written=written, known=self._errors.behind)
        self.graph = Graph(self.loops, subjects, adapters, advice)
        self._places = Places(self.loops, entry)
        self.comes_from = self._places.comes_from
        self._log = FindingLog(
            strict=strict,
            ignore=ignore,
            found=found,
            taken_back=taken_back,
            errors=self._errors,
            lock=self._lock,
        )
        self.children = ForkedChildren()
        self.writer: SpoolWriter | None = None
        self._witness = Witness(self._errors)
        self.ledger: Ledger = after.ledger if after else Ledger(self.loops, self.graph.adapters)
        self._detectors: list[Detector] = []  # until there is something to judge
        self._judges: dict[type[Sighting], tuple[Detector, ...]] = {}
        self._elders: tuple[Detector, ...] = () if after is None else after._elders
        if after is not None:
            self.loops.turn()
        self._is_idle = self._is_quiet = True  # nothing but lines of the log has been seen
        self._faults = Faults()
        self._ends = 0
        self._blind: tuple[str, ...] = ()

    @contextmanager
    def armed(self) -> Iterator[Patches]:
        """See what happens for the length of a ``with`` block; yields the patches in force.

        Raises:
            BlindError: when the canary is not seen on this interpreter.
        """
        TERRITORY.prepare()  # whose file is whose is asked in hooks, where nothing may be read
        try:
            with PROCESS.armed(_probes(discover()), self, canary.sing) as patches:
                self._blind = tuple(map(canary.note, patches.blind))
                yield patches
        finally:
            with self._lock:
                self._log.settle((), self._witness.fate, last=True)
                self._witness.stop(for_good=True)
            for detector in self._detectors:
                detector.close()
            self.children.close()
            for line in self.children.lines():
                self.logs.put(line)

    # -- passes and rests --------------------------------------------------------------------

    def begin_pass(self, number: int, key: str | None = "") -> None:
        """What is seen from here on belongs to this pass.

        Args:
            number: from 1.
            key: what it runs: passes of one key run the same code. None for what comes before all
                passes and serves each of them.
        """
        self.loops.begin_pass(number, key)
        PROCESS.look_again()
        with PROCESS.deaf():
            self.observe(PassBegun(number))

    def end_pass(self, *errors: BaseException, thorough: bool = True, last: bool = False) -> None:
        """The pass rests: judge what it left behind, and which of its errors were swallowed.

        Args:
            *errors: what left the pass. Swallowed are those that are not among them, nor behind
                one of them.
            thorough: whether to look at what the pass left on the heap, which costs milliseconds;
                what is left out is seen at a later end.
            last: no pass follows that may fail for what this one has left.
        """
        with self._lock:
            is_open = self._log.settle(errors, self._witness.fate)
            if not is_open:
                self._witness.stop()  # what is settled need not be followed: it is not free
        if thorough:
            # Not while judging: what finalizers do now is to be seen. Nor for nothing: each one
            # makes what is alive old, and all that is old is collected once it has grown by a
            # quarter. After each test of anyio's suite that made 87 whole collections of 32.
            if not last or self.graph.may_be_stale():
                self.graph.collect(whole=False)
            self._rest(PassEnded(self.loops.pass_number, bool(errors)), last=last)
        else:
            self.logs.judge(self._log.attach)
        if not is_open:
            self._errors.forget()

    @property
    def is_quiet(self) -> bool:
        """Whether the last judging was the last word, unless more than a log's lines is seen."""
        return self._is_quiet

    def end_run(self, *, whole: bool = True) -> None:
        """Judge what is left when all has ended; again, where more has happened since.

        Where a dead loop is still there, all of the heap is collected first; not if not `whole`:
        then the end of the last pass, just before, has collected what it had to.
        """
        self._ends += 1
        if whole:
            self.graph.collect(whole=True)
        self._rest(RunEnded(), last=True)

    def _rest(self, end: Sighting, *, last: bool) -> None:
        self.logs.judge(self._log.attach)
        if self._is_idle:
            return
        with PROCESS.deaf(), self._lock, self.graph.at_rest(), self.ledger.at_rest(self.graph):
            self.observe(end)
            self._log.own(self.graph)
            if not last:
                self.graph.look_around()
            self._is_quiet = not any(one.waits for one in self._detectors)
        self._faults.warn()

    @contextmanager
    def as_one_pass(self, schedule: str | None = None) -> Iterator[LoopReport]:
        """Arm, watch a ``with`` block as the only pass of a run, and judge it.

        Yields:
            The report: live within the block, final after it.

        Raises:
            BlindError: when the canary is not seen on this interpreter.
        """
        report = LoopReport(lambda: self.contents(schedule=schedule))
        try:
            with self.armed():
                try:
                    yield report
                except BaseException as error:
                    self.end_pass(error)
                    raise
                else:
                    self.end_pass()
                finally:
                    self.end_run()
        finally:
            report.close()

    # -- what comes out ------------------------------------------------------------------------

    def contents(self, *, schedule: str | None = None) -> Contents:
        """All that is known so far, as a report has it."""
        return Contents(
            findings=self.findings(),
            loops=self.loops.made(),
            logs=self.logs.lines(),
            logs_lost=self.logs.lost,
            schedule=schedule,
            notes=self.notes(),
            refused=self._faults.refused,
        )

    def notes(self) -> tuple[str, ...]:
        """What could not be seen."""
        notes = (*self.graph.notes, *self.ledger.notes(), *self.logs.notes())
        return (*self._blind, *self._faults.notes(), *notes, *self.children.notes())

    def findings(self) -> tuple[Finding, ...]:
        """What has been found so far, in forked children too."""
        return (*self._log.findings(), *self.children.findings())

    def numbered(self) -> dict[int, Finding]:
        """What has been found in this process, by a number that stays the same."""
        return self._log.numbered()

    # -- forked children -----------------------------------------------------------------------

    def before_fork(self) -> None:
        """Have a place ready where a forked child can write."""
        self.children.expect()

    def forked(self, parent: int) -> bool:
        """Go on in a forked child, in writing: nobody will ask this copy for its findings.

        Args:
            parent: the parent's process id.
        """
        writer = self.writer = self.children.writer()
        if writer is None:
            return False
        self._lock = threading.RLock()  # a thread that there is no more may have held it
        self.loops.forked(parent, PROCESS.inherit(all_loops()), self._lock)
        self._witness.forked()
        self.children.forked()
        hand = ChildsHand(writer)
        self._log.forked(self._lock, hand.found, hand.taken_back)
        self.logs = LogBook(written=hand.written, known=self._errors.behind)
        self.comes_from(Origin(os.getpid(), "forked child"))
        return True

    # -- observing -----------------------------------------------------------------------------

    def observe(self, sighting: Sighting) -> None:
        """Number new loops, and pass everything to the rules that judge it."""
        with self._lock:
            try:
                self._take(sighting)
            except Exception as error:  # noqa: BLE001 - this is called by the code under test
                kind = type(sighting).__name__
                self._faults.note(f"what keeps account of {kind} failed", error)

    def _take(self, sighting: Sighting) -> None:
        if isinstance(sighting, Logged):
            self.logs.take(sighting, self.loops.pass_number)
            return
        if self._is_idle and not self._detectors:
            self._make_detectors()
        if not isinstance(sighting, PassBegun):
            self._is_idle = self._is_quiet = False
        if isinstance(sighting, LoopBorn):
            self.loops.born(sighting.loop, self._places.inside(current_stack()))
            PROCESS.look_again()
        elif isinstance(sighting, TaskStarted):
            self.loops.works(sighting.loop)
        elif isinstance(sighting, LoopRan):
            self.loops.ran(sighting.loop, sighting.code)
        elif isinstance(sighting, LoopClosed):
            self.loops.closed(sighting.loop)
        elif isinstance(sighting, Expected) and sighting.named:
            self._log.expect(self._errors.behind(sighting.error, beside=False))
        self.ledger.take(sighting)
        kind = type(sighting)
        if kind not in self._judges:
            judges = judging().get(kind, ())
            self._judges[kind] = tuple(one for one in self._detectors if type(one) in judges)
        for detector in self._judges[kind]:
            self._consult(detector, sighting)

    def _make_detectors(self) -> None:
        self._detectors = [kind(self.loops, self.graph, self.ledger) for kind in discover()]
        for detector, elder in zip(self._detectors, self._elders, strict=False):
            detector.follow(elder)
        self._elders = tuple(self._detectors)

    def _consult(self, detector: Detector, sighting: Sighting) -> None:
        try:
            for seen in detector.observe(sighting):
                observation = self._places.placed(seen)
                if observation is None or self._is_excused_at_once(observation):
                    continue
                told = self._ends > 1 and isinstance(sighting, RunEnded)
                self._log.add(observation, self.loops.pass_number, self.graph.clue, told=told)
                self.graph.tell(observation.about)
                if observation.error is not None:
                    self._witness.follow(observation.error)
        except Exception as error:  # noqa: BLE001 - a fault of ours is never the test's
            codes = ", ".join(rule.code for rule in detector.rules)
            off = f"the detector for {codes} failed and is switched off for the rest of this test"
            if self._faults.note(off, error) and detector in self._detectors:
                self._detectors.remove(detector)
                self._judges = {}
                detector.close()

    def _is_excused_at_once(self, observation: Observation) -> bool:
        """In a forked child nobody judges when it rests, so what can be read is read now."""
        way, excuse = observation.way, observation.excuse
        if self.writer is None or way is None or excuse is None or observation.at_rest is not None:
            return False
        return excuse(read_fate(way))
