"""One run of tasks in a worker: send, follow in the spool until all is done, report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pytest_loopsafe._report.report import Contents, LoopReport, PassOutcome
from pytest_loopsafe._spool.reader import Invocation, ProcessRecord, SpoolReader
from pytest_loopsafe._spool.writer import RunRequest
from pytest_loopsafe._words import clock
from pytest_loopsafe._words.findings import Finding, Origin
from pytest_loopsafe._words.settings import Settings
from pytest_loopsafe._workers.client import TO_ANSWER, Client
from pytest_loopsafe._workers.host import Worker
from pytest_loopsafe._workers.recording import END_RUN

_POLL = 0.002
_GRACE = 2.0
"""Seconds beyond a call's own, for a worker to begin and to end it."""
_RING_AGAIN = 0.2
_TO_JUDGE = 15.0
"""Seconds for a process to say what it has left; it takes milliseconds, or some searches."""
_DEAF = f"the result backend did not answer within {TO_ANSWER:g} s, and was not asked again"
_REDELIVERY = 0.5
"""Seconds for a task that was lost with its child to be given to another one. Where Celery does so
(acks_late with reject_on_worker_lost), it waits ten seconds first, which a test need not."""


class CeleryRun:
    """Tasks run in one worker.

    Args:
        worker: where; it runs nothing else meanwhile.
        client: sends to it.
        request: what its processes have been asked to do.
        settings: for the report.
    """

    def __init__(
        self, worker: Worker, client: Client, request: RunRequest, settings: Settings
    ) -> None:
        self._worker = worker
        self._client = client
        self._request = request
        self._settings = settings
        self._reader = SpoolReader(worker.spool)
        self._notes: dict[str, None] = {}
        self._sent: dict[str, str | None] = {}
        self._lost_at: dict[str, float] = {}
        self._over: set[str] = set()
        self._is_done = False
        self.report = LoopReport(self._contents)

    def execute(self, signatures: Iterable[Any], *, together: bool) -> LoopReport:
        """Send the signatures and wait until all that they set off has ended.

        Args:
            signatures: of tasks, chains, groups and chords.
            together: send all at once; else each when the one before has ended.
        """
        self._reader.poll()
        try:
            with self._client.sending():
                for signature in signatures:
                    self._sent |= self._client.send(signature)
                    if not together and not self._wait():
                        break
                else:
                    if together:
                        self._wait()
            self._end_run()
        finally:
            self._reader.poll()
            self._is_done = True
            run = self._request.run
            passes = tuple(self._outcomes())
            if self._client.is_deaf:
                self._note(f"{_DEAF}: what tasks returned may be missing")
            notes = (*self._reader.deaths(run, self._worker.how_it_died), *self._reader.notes(run))
            self.report.close(passes=passes, notes=(*self._notes, *notes))
        return self.report

    def _contents(self) -> Contents:
        run = self._request.run
        return Contents(
            findings=self._findings(),
            loops=self._reader.loops(run),
            logs=self._reader.lines(run) if self._is_done else (),
            schedule="celery",
        )

    # -- following -------------------------------------------------------------------------

    def _wait(self) -> bool:
        """Wait until nothing is under way; False where it is no use to go on."""
        limit = self._settings.timeout + 2 * _GRACE
        last_news = clock.now()
        looked = 0.0
        while True:
            if self._reader.poll():
                last_news = clock.now()
            pending = self._pending()
            if not pending:
                return not self._hung()  # the next call would most likely hang as long again
            now = clock.now()
            if now - looked > 0.1:
                looked = now
                if all(self._never_began(one) for one in pending):
                    return True
                if not self._worker.alive():
                    self._note(f"the worker is gone. It said last:\n{self._worker.log()}")
                    return False
            if now - last_news > limit:
                for one in pending:
                    self._note(
                        f"task {self._name_of(one)} (id {one}) had not ended after {limit:g} s "
                        "without any news of it"
                    )
                return False
            time.sleep(_POLL)

    def _pending(self) -> list[str]:
        """The ids of what has been sent, in turn too, is to run soon, and is not over."""
        for task_id, publication in self._reader.published.items():
            if publication.run == self._request.run:
                self._sent[task_id] = publication.eta
        waiting = [one for one in self._sent if one not in self._over]
        pending = []
        for task_id in waiting:
            if not self._is_over(task_id):
                if self._is_soon(task_id, self._sent[task_id]):
                    pending.append(task_id)
            elif self._reader.last_call[task_id].state not in ("RETRY", "RUNNING"):
                self._over.add(task_id)
        return pending

    def _is_soon(self, task_id: str, eta: str | None) -> bool:
        if eta is None:
            return True
        try:
            when = datetime.fromisoformat(eta)
        except ValueError:  # not Celery's way to write it: the broker knows
            return True
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        if (when - datetime.now(UTC)).total_seconds() <= self._settings.timeout:
            return True
        self._note(
            f"task {self._name_of(task_id)} (id {task_id}) is to run at {eta}, later than the "
            f"timeout of {self._settings.timeout:g} s: not waited for"
        )
        return False

    def _is_over(self, task_id: str) -> bool:
        last = self._reader.last_call.get(task_id)
        if last is None or last.state == "RETRY":
            return False
        if not last.lost:
            return last.state != "RUNNING"
        # Lost with its process. Celery may give it to another child (acks_late): wait for that.
        since = self._lost_at.setdefault(task_id, clock.now())
        return self._is_settled(task_id) or clock.now() - since > _REDELIVERY

    def _never_began(self, task_id: str) -> bool:
        """Whether a task is over that no process has begun: expired, revoked, unknown, refused.

        The backend knows of these. One that has begun is not over with its result: what it left
        is being judged.
        """
        if task_id in self._reader.last_call or not self._is_settled(task_id):
            return False
        self._reader.poll()  # it may have begun and ended since
        if task_id in self._reader.last_call:
            return False
        value, error = self._client.outcome(task_id) or (None, None)
        became = f"{type(error).__name__}: {error}" if error is not None else repr(value)
        self._note(
            f"task {self._name_of(task_id)} (id {task_id}) never began in a watched process, so "
            f"nothing is known of it; Celery says of it: {became}"
        )
        return True

    def _is_settled(self, task_id: str) -> bool:
        with suppress(Exception):  # a backend that cannot tell
            return self._client.outcome(task_id) is not None
        return False

    def _calls(self) -> list[Invocation]:
        return self._reader.calls(self._request.run)

    def _findings(self) -> tuple[Finding, ...]:
        if not self._is_done:
            self._reader.poll()
        return self._reader.findings(self._request.run)

    def _name_of(self, task_id: str) -> str:
        last = self._reader.last_call.get(task_id)
        if last is not None:
            return last.task
        publication = self._reader.published.get(task_id)
        return publication.task if publication is not None else "sent by the test"

    def _hung(self) -> set[tuple[int, int]]:
        """The calls that used up their time, as (pid, number in its process)."""
        return {
            (process.pid, number)
            for process in self._reader.processes
            for (run, _), finding in process.findings.items()
            if run == self._request.run and finding.code == "LS106"
            for number in finding.passes
        }

    def _end_run(self) -> None:
        """Have each process judge what is left, and wait until it has said so."""
        ran = {id(one.process): one.process for one in self._calls()}
        asked = [one for one in ran.values() if one.alive()]
        if END_RUN is None:
            return
        replace(self._request, over=True).write(self._worker.spool)
        deadline, again = clock.now() + _TO_JUDGE, 0.0
        while asked := [one for one in asked if not self._has_ended(one)]:
            now = clock.now()
            if now > deadline:
                self._note(
                    "a worker process did not answer when asked for what it had left: what is "
                    "judged at the end of a run (LS206, LS304, LS305) may be missing"
                )
                return
            if now > again:
                # Python's handler does not run before a system call that begins in the moment of
                # the signal has ended, which may be that for the next task: once is not enough.
                again = now + _RING_AGAIN
                for process in asked:
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, END_RUN)
            if not self._reader.poll():
                time.sleep(_POLL)

    def _has_ended(self, process: ProcessRecord) -> bool:
        return self._request.run in process.ended_runs or not process.alive()

    # -- reporting -------------------------------------------------------------------------

    def _outcomes(self) -> Iterator[PassOutcome]:
        last = {one.id: one for one in self._calls()}
        hung = self._hung()
        for number, call in enumerate(self._calls(), 1):
            process = call.process
            origin = Origin(process.pid, process.role, call.task, call.id, call.number)
            value, error = None, None
            if last[call.id] is call:
                with suppress(Exception):
                    value, error = self._client.outcome(call.id) or (None, None)
            if (process.pid, call.number) in hung:
                # Before what the task made of being cancelled, which may be anything.
                error = TimeoutError(f"call {number} did not end in {self._settings.timeout:g} s")
            elif error is None and call.lost:
                error = _LostError(f"{process} died while it ran task {call.task}")
            elif error is None and call.state == "RUNNING":
                error = TimeoutError(f"task {call.task} still runs in {process}")
            elif error is None and call.error is not None:
                error = _TaskError(call.error)
            if error is not None and call.traceback is not None:
                error.__cause__ = TracebackInWorker(f"of {origin}:\n\n{call.traceback}")
            yield PassOutcome(number, value, error, origin)

    def _note(self, text: str) -> None:
        self._notes[text] = None


class _TaskError(RuntimeError):
    """A task's own exception, where the result backend has no more than its text."""


class TracebackInWorker(Exception):  # noqa: N818 - its name is the headline of what is shown
    """Stands for what was raised in the worker, whose traceback pytest shows first of all."""


TracebackInWorker.__module__ = "pytest_loopsafe"  # the name is shown, and this part of it is noise


class _LostError(RuntimeError):
    """A task whose process died under it."""
