"""A process that serves call after call, watched, and written down as it goes.

This is what runs inside a worker: one watch for each run that is asked for, one pass for each
call. It imports no pytest and knows no Celery.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from pytest_loopsafe._graph.view import all_loops
from pytest_loopsafe._probes.instrumentation import PROCESS
from pytest_loopsafe._rules.ls106 import PassTimedOut
from pytest_loopsafe._run.last_words import to_stderr
from pytest_loopsafe._run.tracebacks import as_text
from pytest_loopsafe._run.watchdog import PassAborted, Watchdog
from pytest_loopsafe._spool import wire
from pytest_loopsafe._spool.writer import RunRequest, SpoolWriter
from pytest_loopsafe._watch.canary import BlindError
from pytest_loopsafe._watch.watch import Watch
from pytest_loopsafe._words.findings import Finding, LogLine, Origin
from pytest_loopsafe._words.settings import parse_ignores

END_RUN = getattr(signal, "SIGURG", None)
"""Asks a process to judge what is left and to end the run. By default it is ignored, so a process
that does not listen is not harmed; no library is known to use it."""


_ALWAYS_THOROUGH = 50
_THEN_THOROUGH = 16
_LOOPS_KEPT = 100
"""How many loops a process that serves for days remembers. Those that still exist always count."""


class _Call:
    """One call that is under way in one thread."""

    def __init__(self, number: int, watch: Watch, limit: ExitStack) -> None:
        self.number = number
        self.watch = watch
        self.limit = limit
        self.late: PassTimedOut | None = None

    def judge_hang(self) -> None:
        """Judge what was noted when the time was up, now that the call rests or nothing does."""
        late, self.late = self.late, None
        if late is not None:
            self.watch.observe(late)


class Recorder:
    """Watches this process and writes to a spool.

    Args:
        folder: the spool.
        role: what this process is, in a few words.
        forked_from: the parent's process id where all that is there now was made by the parent;
            None in a process that has made everything itself.
        entry: the end of the path of the file that calls what is watched.
        is_private: the spool is a temporary one of the tests' own.

    Raises:
        SpoolError: the folder cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        role: str,
        forked_from: int | None = None,
        entry: str | None = None,
        *,
        is_private: bool = False,
    ) -> None:
        self._folder = folder
        self._role = role
        self._forked_from = forked_from
        self._entry = entry
        self._spool = SpoolWriter(folder, role, is_private=is_private)
        self._lock = threading.RLock()
        self._here = threading.local()
        self._run: str | None = None
        self._watch: Watch | None = None
        self._armed = ExitStack()
        self._written: dict[int, Finding] = {}
        self._last_loop = 0
        self._calls = 0
        self._under_way = 0
        self._end_asked = False
        # A loop that was made in the parent stays the parent's in every later run.
        self._inherited = _weak(all_loops()) if forked_from is not None else []

    # -- calls -----------------------------------------------------------------------------

    def arm(self) -> None:
        """Begin to watch, before the first call."""
        if END_RUN is not None and threading.current_thread() is threading.main_thread():
            signal.signal(END_RUN, self._on_end_run)
        with self._lock:
            self._begin_run(RunRequest.read(self._folder))

    def began(self, task: str, task_id: str) -> None:
        """A call begins in this thread."""
        with self._lock:
            request = RunRequest.read(self._folder)
            if request.run != self._run:
                self.end_run()
                self._begin_run(request)
            if self._watch is None:
                return
            self._calls += 1
            self._under_way += 1
            call = _Call(self._calls, self._watch, ExitStack())
            self._here.call = call
            call.watch.begin_pass(call.number, task)
            call.watch.comes_from(Origin(os.getpid(), self._role, task, task_id, call.number))
            self._spool.write("began", run=self._run, number=call.number, task=task, id=task_id)
        if request.timeout is not None:
            call.limit.enter_context(self._watchdog(call, request.timeout).watching())

    def ended(self, state: str, error: BaseException | None = None) -> None:
        """The call in this thread has ended.

        Args:
            state: Celery's word for how.
            error: the exception that left it.
        """
        call: _Call | None = getattr(self._here, "call", None)
        if call is None:
            return
        self._here.call = None
        with suppress(PassAborted):  # the time was up in this very moment
            call.limit.close()
        with self._lock:
            call.judge_hang()
            errors = (error,) if error is not None else ()
            call.watch.end_pass(*errors, thorough=self._is_thorough(call.number))
            call.watch.comes_from(Origin(os.getpid(), self._role))
            self._write_down(call.watch)
            text = f"{type(error).__name__}: {error}" if error is not None else None
            self._spool.write(
                "ended",
                run=self._run,
                number=call.number,
                state=state,
                error=text,
                traceback=as_text(error, self._entry) if error is not None else None,
            )
            self._under_way -= 1
            if self._end_asked and not self._under_way:
                self.end_run()

    def published(self, task: str, task_id: str, eta: str | None) -> None:
        """Watched code has sent a task, which is to run at once or at `eta`."""
        self._spool.write("published", run=self._run, task=task, id=task_id, eta=eta)

    def end_run(self) -> None:
        """Judge what is left at the end of all calls, and stop watching."""
        with self._lock:
            self._end_asked = False
            watch, self._watch = self._watch, None
            if watch is None:
                return
            watch.comes_from(Origin(os.getpid(), self._role))
            watch.end_run()
            self._write_down(watch)
            self._armed.close()
            for text in watch.notes():
                self._spool.write("note", run=self._run, text=text)
            self._spool.write("run_ended", run=self._run)

    def exit(self) -> None:
        """The process is about to end in order."""
        self.end_run()
        self._spool.write("exit")

    def abandon(self) -> None:
        """Leave asyncio as it was, in a forked child that is none of this recorder's business."""
        PROCESS.leave()

    # -- one run ---------------------------------------------------------------------------

    def _begin_run(self, request: RunRequest) -> None:
        self._run = request.run
        self._written, self._last_loop, self._calls = {}, 0, 0
        watch = Watch(
            strict=request.strict,
            ignore=parse_ignores(request.ignore),
            found=self._found,
            taken_back=self._took_back,
            written=self._logged,
            entry=self._entry,
        )
        if self._forked_from is not None:
            watch.loops.inherit(
                [loop for ref in self._inherited if (loop := ref()) is not None], self._forked_from
            )
        watch.begin_pass(0, None)
        try:
            self._armed.enter_context(watch.armed())
        except BlindError as error:
            self._spool.write("note", run=self._run, text=str(error))
            return
        if self._forked_from is not None:
            PROCESS.inherit([loop for ref in self._inherited if (loop := ref()) is not None])
        watch.comes_from(Origin(os.getpid(), self._role))
        self._watch = watch

    @staticmethod
    def _is_thorough(call: int) -> bool:
        """A worker that serves for days looks at its whole heap now and then, not at each end."""
        return call <= _ALWAYS_THOROUGH or call % _THEN_THOROUGH == 0

    def _found(self, number: int, finding: Finding) -> None:
        self._written[number] = finding
        self._spool.write("finding", run=self._run, key=number, finding=wire.encode(finding))

    def _took_back(self, number: int) -> None:
        self._written.pop(number, None)
        self._spool.write("taken_back", run=self._run, key=number)

    def _logged(self, number: int, line: LogLine) -> None:
        # In a worker that serves for days, only what may be a trace of a hazard.
        if self._run or line.suspect:
            self._spool.write("line", run=self._run, number=number, line=wire.encode(line))

    def _write_down(self, watch: Watch) -> None:
        """Write what has changed: new counts, who swallowed it, new loops."""
        for number, finding in watch.numbered().items():
            if self._written.get(number) != finding:
                self._found(number, finding)
        loops = watch.loops.made_after(self._last_loop)
        if loops:
            self._last_loop = loops[-1].number
            if not self._run:  # for days on end: what a finding says of its loops is enough
                loops = tuple(replace(info, created=()) for info in loops)
            self._spool.write("loops", run=self._run, loops=wire.encode(loops))
        watch.loops.forget(keep=_LOOPS_KEPT)
        watch.logs.let_go()

    def _on_end_run(self, number: int, frame: FrameType | None) -> None:
        # The signal only says that there is something to read: it may come late, in the next run,
        # and code under test may send it, or the kernel (SIGURG is what urgent data makes).
        if not RunRequest.read(self._folder).over:
            return
        # A handler runs between two instructions of the main thread: where that is in the middle
        # of a call, the call's own end does it.
        if self._under_way:
            self._end_asked = True
        else:
            self.end_run()

    def _watchdog(self, call: _Call, timeout: float) -> Watchdog:
        def timed_out(loop: Any, frame: FrameType | None) -> None:
            call.late = PassTimedOut.noted(call.number, timeout, loop, frame)

        def last_word(text: str) -> None:
            call.judge_hang()
            self._write_down(call.watch)
            self._spool.write("note", run=self._run, text=text)
            to_stderr(text)

        dog = Watchdog(timeout, timed_out, last_word)
        loops = call.watch.loops
        dog.running_loops = lambda: [  # type: ignore[method-assign]
            loop for loop in loops.alive() if loop.is_running()
        ]
        return dog


def _weak(things: list[Any]) -> list[Callable[[], Any]]:
    found: list[Callable[[], Any]] = []
    for thing in things:
        with suppress(TypeError):
            found.append(weakref.ref(thing))
    return found
