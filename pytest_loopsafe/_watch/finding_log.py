"""The log that folds one hazard's many sightings into one finding."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pytest_loopsafe._graph.view import Graph
from pytest_loopsafe._watch.finding_records import Record, SeenError
from pytest_loopsafe._words.errors import ErrorKey, KnownErrors
from pytest_loopsafe._words.findings import (
    Clue,
    Finding,
    LoggedErrors,
    LogLine,
    Observation,
)
from pytest_loopsafe._words.rules import Ignore, Severity
from pytest_loopsafe._words.texts import plain_text
from pytest_loopsafe._words.ways import Fate, Way

_LINES_KEPT = 3
_TEXTS_COMPARED = 100


class FindingLog:
    """Folds observations into findings: one hazard is one finding with a count.

    Two observations are the same hazard when rule and place agree: the same line of the user's
    code, in whichever loop. Safe to use from any thread.

    Whose the object is, is asked at rest, once for each hazard. So a finding is told without its
    owner first, at once, and nothing that happens later can lose it.

    Args:
        strict: count warnings as errors.
        ignore: rules to leave out.
        found: told of each new finding at once, with its number.
        taken_back: told of the number of one that turned out to be none.
        errors: recognises the errors of findings.
        lock: the watch's own.
    """

    def __init__(
        self,
        *,
        strict: bool = False,
        ignore: Iterable[Ignore] = (),
        found: Callable[[int, Finding], None] = lambda number, finding: None,
        taken_back: Callable[[int], None] = lambda number: None,
        errors: KnownErrors | None = None,
        lock: threading.RLock | None = None,
    ) -> None:
        self._strict = strict
        self._ignore = tuple(ignore)
        self._found = found
        self._taken_back = taken_back
        self._errors = errors or KnownErrors()
        self._lock = lock if lock is not None else threading.RLock()
        self._records: dict[object, Record] = {}
        self._closed = False

    def add(
        self,
        observation: Observation,
        pass_number: int,
        clue: Callable[[Observation], Clue] = lambda observation: Clue(()),
        *,
        told: bool = False,
    ) -> None:
        """Take in one observation made in a pass.

        Args:
            observation: what was seen.
            pass_number: the pass, where the observation does not name another.
            clue: notes whose the object may be; called where the hazard is new.
            told: one that is known is not counted: it is only judged again.
        """
        finding, pass_number = observation.finding, observation.pass_number or pass_number
        site = finding.site
        place = (site.file, site.line) if site else finding.message
        loop = finding.loop.number if finding.loop is not None else None
        key = (finding.code, observation.identity or place)
        with self._lock:
            if self._closed and observation.excuse is not None:
                return  # nobody sees what becomes of it any more
            record = self._records.get(key)
            if record is None:
                severity = observation.severity or finding.rule.severity
                severity = Severity.ERROR if self._strict else severity
                whose = clue(observation) if finding.owner is None else None
                finding = replace(finding, severity=severity)
                record = Record(len(self._records) + 1, finding, whose)
                record.ignored = self._is_ignored(finding)
                self._records[key] = record
            elif told:
                return
            if observation.is_refusal and not record.raised:
                record.raised = True
                if record.count:  # what somebody was refused tells more than what went well
                    record.finding = record.told_as(finding)
            if observation.at_rest is None:
                record.see(pass_number, loop, 1)
            if observation.error is not None:
                error = observation.error
                key_of_it, text = self._errors.note(error), plain_text(error) or ""
                record.pending.append(
                    SeenError(
                        key_of_it,
                        observation.way,
                        text,
                        observation.excuse,
                        pass_number,
                        loop,
                        observation.at_rest,
                        observation.expectable,
                    )
                )
            elif observation.expectable:
                record.unsaid[pass_number, loop] += 1
        if record.count == 1 and not record.ignored and observation.at_rest is None:
            self._found(record.number, self._finding(record))

    def own(self, graph: Graph) -> None:
        """At rest, find out whose the objects are that new findings are about, and what to do.

        The whole heap is read only for errors: it costs more than a test that has a warning.
        """
        with self._lock:
            for record in tuple(self._records.values()):
                if record.owned or not record.count:
                    continue
                record.owned = True
                clue, record.clue = record.clue, None
                owner = record.finding.owner
                if clue is not None and not clue.is_empty:
                    is_error = record.finding.severity is Severity.ERROR
                    owner = graph.locate(clue, thorough=is_error)
                if owner is not None:
                    known = graph.known_of(owner)
                    record.finding = replace(
                        record.finding,
                        owner=owner,
                        owner_type=known.kind,
                        advice=known.advice,
                        remedy=f"{record.finding.remedy} {known.advice}".rstrip(),
                    )
                    record.ignored = self._is_ignored(record.finding)

    def _is_ignored(self, finding: Finding) -> bool:
        return any(entry.matches(finding.code, finding.owner) for entry in self._ignore)

    def settle(
        self,
        errors: Iterable[BaseException],
        fate: Callable[[ErrorKey, Way | None], Fate] = lambda key, way: Fate(),
        *,
        last: bool = False,
    ) -> bool:
        """Judge at the end of a pass which errors left it; the others were swallowed.

        Those that the code expected are no hazards: what was found for them is taken back.

        Args:
            errors: the exceptions that left the pass.
            fate: tells what became of an error.
            last: nothing is watched any more, and what comes now is nobody's. What is open, since
                another thread is about to be refused in this moment, is taken back.

        Returns:
            Whether something is open.
        """
        left = {key for error in errors for key in self._errors.behind(error)}
        with self._lock:
            self._closed = last
            records = tuple(self._records.values())
            # Before anything is read: what is garbage by now may be collected meanwhile.
            for record in records:
                record.pending = [one for one in record.pending if one.may_be_one(left)]
            still_open = [self._settle(record, left, fate, last=last) for record in records]
            return any(still_open)

    def _settle(
        self,
        record: Record,
        left: set[ErrorKey],
        fate: Callable[[ErrorKey, Way | None], Fate],
        *,
        last: bool,
    ) -> bool:
        record.settled, record.pending = record.pending, []
        # One of several at the same place came out: it is no secret.
        seen = any(error.key in left for error in record.settled)
        for error in record.settled:
            if error.at_rest is not None:
                self._judge(record, error, left, fate, last=last)
                continue
            excuse = error.excuse if error.key not in left else None
            if seen and excuse is None:
                continue
            became = fate(error.key, error.way)
            if excuse is not None and became.open and not last:
                record.pending.append(error)
            elif excuse is not None and (became.open or excuse(became)):
                self._take_back(record, error)
            elif not seen:
                self._swallow(record, became)
        return bool(record.pending)

    def expect(self, keys: frozenset[ErrorKey]) -> None:
        """A test expects these errors: what was found for them is taken back.

        And where asyncio has said nothing, just before, of what it then refused at the same place.
        """
        with self._lock:
            for record in tuple(self._records.values()):
                met = [one for one in record.pending if one.expectable and one.key in keys]
                for error in met:
                    record.pending.remove(error)
                    self._take_back(record, error)
                    for _ in range(record.unsaid.pop((error.pass_number, error.loop), 0)):
                        self._take_back(record, error)

    def _judge(
        self,
        record: Record,
        error: SeenError,
        left: set[ErrorKey],
        fate: Callable[[ErrorKey, Way | None], Fate],
        *,
        last: bool,
    ) -> None:
        """Tell of what only now is known to be a hazard."""
        became = Fate(left=True) if error.key in left else fate(error.key, error.way)
        if became.open and not last:
            record.pending.append(error)
            return
        if error.excuse is not None and error.excuse(became):
            return
        record.see(error.pass_number, error.loop, 1)
        if not became.left:
            self._swallow(record, became)
        if record.count == 1 and not record.ignored:
            self._found(record.number, self._finding(record))

    def _take_back(self, record: Record, error: SeenError) -> None:
        record.see(error.pass_number, error.loop, -1)
        if record.count == 0 and not record.ignored:
            self._taken_back(record.number)

    def _swallow(self, record: Record, became: Fate) -> None:
        finding, keeper = record.finding, became.keeper
        if not finding.swallowed or (became.witnessed and finding.swallowed_at is None):
            record.finding = replace(
                finding,
                swallowed=True,
                swallowed_at=keeper,
                swallowed_likely=keeper is not None and not became.witnessed,
            )

    def attach(self, logged: Sequence[LoggedErrors]) -> set[LogLine]:
        """Give the errors seen since the last pass was begun the lines that tell of them.

        Returns:
            The lines that belong to a finding.
        """
        known: set[LogLine] = set()
        with self._lock:
            for record in self._records.values():
                errors, record.settled = record.settled + record.pending, []
                keys = {error.key for error in errors}
                for one in logged if errors else ():
                    if keys.isdisjoint(one.keys) and not any(
                        error.is_told_by(one.line) for error in errors[:_TEXTS_COMPARED]
                    ):
                        continue
                    known.add(one.line)
                    kept = record.finding.logged
                    if len(kept) < _LINES_KEPT and one.line.message not in (
                        line.message for line in kept
                    ):
                        record.finding = replace(record.finding, logged=(*kept, one.line))
        return known

    def findings(self) -> tuple[Finding, ...]:
        """All findings so far, in the order in which they were first seen."""
        return tuple(self.numbered().values())

    def numbered(self) -> dict[int, Finding]:
        """All findings so far, by a number that stays the same; not what may be taken back yet.

        A thread may be refused between the last rest and a test's verdict.
        """
        with self._lock:
            return {
                record.number: self._finding(record)
                for record in self._records.values()
                if record.count > record.undecided and not record.ignored
            }

    @staticmethod
    def _finding(record: Record) -> Finding:
        return replace(
            record.finding,
            count=record.count,
            passes=tuple(sorted(+record.passes)),
            loops=tuple(sorted(+record.loops)),
        )

    def forked(
        self,
        lock: threading.RLock,
        found: Callable[[int, Finding], None],
        taken_back: Callable[[int], None],
    ) -> None:
        """Begin anew in a forked child: what was found so far is the parent's to report."""
        self._lock, self._found, self._taken_back = lock, found, taken_back
        self._records = {}
