"""The schedule ``fork``: each pass in a forked child of its own, all from the same state.

This is how a prefork server's or worker's children begin: with what the parent has imported and
set up. The body never runs in the parent, so no pass sees what another one left.

The child judges its own pass and writes what it finds to the watch's spool, as every forked child
of watched code does; the outcome comes back in a file of its own
(`pytest_loopsafe._run.parcels`). The child ends with ``os._exit``, whatever happens, for all that
would run at an ordinary end (pytest's capture, temporary folders, ``atexit``) is the parent's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._report.report import PassOutcome
from pytest_loopsafe._run.parcels import ChildPass, ForkedPassError, Parcel
from pytest_loopsafe._run.watchdog import patience
from pytest_loopsafe._spool import wire
from pytest_loopsafe._watch.watch import Watch
from pytest_loopsafe._words import clock
from pytest_loopsafe._words.findings import Origin
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.settings import SettingsError

ROLE = "forked child"
_TO_JUDGE = 5.0
"""Seconds beyond a pass's own for judging what it left, and for writing that down."""
_TO_JOIN = 2.0
_PR_SET_PDEATHSIG = 1
_STREAMS = ("stdout", "stderr")


Body = Callable[[], ChildPass]
"""Runs a pass and judges what it left, in the child."""


def require_fork() -> None:
    """Say so where the operating system has no fork.

    Raises:
        SettingsError: it has none.
    """
    if not hasattr(os, "fork"):
        raise SettingsError(
            f"schedule='fork' is not possible on {sys.platform}: it runs each pass in a forked "
            "child, and there is no os.fork() here; skip the test there, or use 'consecutive'"
        )


class ForkedPasses:
    """Runs each pass in a forked child.

    Args:
        watch: what the children go on with, armed.
        timeout: seconds that one pass may take; the child itself sees to that.
        parallel: whether a pass's value is the list of several calls' values.
        end_pass: judges, in a child, what its pass has left when that ends the process.
    """

    def __init__(
        self, watch: Watch, timeout: float, *, parallel: bool, end_pass: Callable[[], None]
    ) -> None:
        self._watch = watch
        self._end_pass = end_pass
        self._timeout = timeout
        self._parallel = parallel
        self._made = 0
        self._notes: dict[str, None] = {}
        self._printed: list[tuple[str, str]] = []
        self.expired = False

    def finish(self) -> None:
        """Print what the children have printed into memory; not earlier, for each begins alike."""
        for name, text in self._printed:
            with contextlib.suppress(OSError, ValueError):
                getattr(sys, name).write(text)
        self._printed.clear()

    def loops(self) -> tuple[LoopInfo, ...]:
        """The loops that the children have made."""
        reader = self._watch.children.reader
        return reader.loops() if reader is not None else ()

    def notes(self) -> tuple[str, ...]:
        """What could not be seen in the children, and what could not be brought home."""
        return tuple(self._notes)

    def run(self, number: int, body: Body) -> PassOutcome:
        """Run one pass in a child.

        Args:
            number: from 1.
            body: runs the pass, in the child.

        Raises:
            BaseException: what ended the child and is to end the run, as itself.
            OSError: there is no place for what the child finds, or no further process.
        """
        self._watch.before_fork()
        result = Path(self._watch.children.folder()) / f"pass-{number}.pickle"
        for name in _STREAMS:
            _flush(name)  # what is in the buffers would else be printed twice
        parent, pid = os.getpid(), _fork()
        if not pid:
            _end_with(parent)
            self._be_child(number, body, result)
        status, late = self._wait(pid)
        self._watch.children.poll()
        self._made = max(self._made, *(one.number for one in self._seen(pid)), 0)
        return self._outcome(number, pid, result, status, late)

    def _seen(self, pid: int) -> Iterator[LoopInfo]:
        """The loops of one child; of one that died those that its findings name."""
        reader = self._watch.children.reader
        for process in reader.processes if reader is not None else ():
            if process.pid == pid:
                for infos in process.loops.values():
                    yield from infos.values()
                for finding in process.findings.values():
                    yield from (one for one in (finding.loop, finding.home_loop) if one is not None)

    # -- in the parent -----------------------------------------------------------------------

    def _wait(self, pid: int) -> tuple[int | None, bool]:
        """The child's exit status (None: somebody else asked for it), and whether it was late."""
        deadline = clock.now() + patience(self._timeout) + _TO_JUDGE
        late, pause = False, 0.0005
        try:
            while True:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    pid = 0
                    return os.waitstatus_to_exitcode(status), late
                if not late and clock.now() > deadline:
                    late = True
                    os.kill(pid, signal.SIGKILL)
                time.sleep(pause)
                pause = min(pause * 1.5, 0.01)
        except ChildProcessError:
            pid = 0
            return None, late
        finally:
            if pid:  # Ctrl-C, or a timeout of somebody else's: the child has no business any more
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)

    def _outcome(
        self, number: int, pid: int, result: Path, status: int | None, late: bool
    ) -> PassOutcome:
        origin = Origin(pid, ROLE)
        parcel = Parcel.read(result)
        if parcel is None:
            return self._died(number, origin, status, late)
        ended = parcel.unpack(number, origin)
        self.expired = ended.expired
        self._notes.update(dict.fromkeys(parcel.notes))
        self._printed += parcel.printed.items()
        if ended.ends_run and ended.outcome.error is not None:
            raise ended.outcome.error
        return ended.outcome

    def _died(self, number: int, origin: Origin, status: int | None, late: bool) -> PassOutcome:
        self.expired = late
        if late:
            how = f"was killed: it had not ended {_TO_JUDGE:g} s after all that ends a pass"
        elif status is None:
            how = "ended, and its exit status was taken by somebody else"
        elif status < 0:
            how = f"was killed by signal {-status} ({_signal_name(-status)})"
        else:
            how = f"ended with exit status {status} before its pass had"
        self._notes[
            f"the {origin} of pass {number} {how}; what it had found until then is in this report"
        ] = None
        text = f"the {origin} {how}"
        if late:
            late_error = TimeoutError(
                f"pass {number} did not finish in {self._timeout:g} s; {text}"
            )
            return PassOutcome(number, error=late_error, origin=origin)
        return PassOutcome(number, error=ForkedPassError(text), origin=origin)

    # -- in the child ------------------------------------------------------------------------

    def _be_child(self, number: int, body: Body, result: Path) -> None:
        """Run the pass, tell how it ended, and end: nothing else of the parent's runs here."""
        leave, pid = os._exit, os.getpid()

        def _exit(status: int) -> Any:
            if os.getpid() == pid:
                # By the code, or by the watchdog as a last resort: nobody asks for errors now.
                with contextlib.suppress(Exception):
                    self._end_pass()
                    self._write_down()
                    for name in _STREAMS:
                        _flush(name)
            return leave(status)

        status = 1
        try:
            positions = {name: _kept_in_memory(name) for name in _STREAMS}
            strangers = _child_processes()
            self._watch.loops.count_from(self._made)
            _cpython.forget_loops_of_parent()
            os._exit = _exit
            parcel = self._parcel(number, body)
            _end_processes(strangers)
            for name in _STREAMS:
                _flush(name)
            self._send(replace(parcel, printed=_printed_since(positions)), result)
            status = 0
        except BaseException:  # noqa: BLE001 - nobody is left who could handle it
            with contextlib.suppress(BaseException):
                print(traceback.format_exc(), file=sys.__stderr__, flush=True)
        finally:
            leave(status)

    def _send(self, parcel: Parcel, result: Path) -> None:
        try:
            parcel.write(result)
        except OSError as error:
            if self._watch.writer is not None:
                self._watch.writer.lose(error)
            raise

    def _parcel(self, number: int, body: Body) -> Parcel:
        try:
            ended = body()
        except BaseException as fault:  # noqa: BLE001 - the parent raises it as itself
            ended = ChildPass(PassOutcome(number, error=fault), ends_run=True)
        self._write_down()
        return Parcel.pack(ended, self._parallel, self._watch.notes())

    def _write_down(self) -> None:
        """Write what has changed since it was found, and the loops."""
        writer = self._watch.writer
        if writer is None:
            return
        for key, finding in self._watch.numbered().items():
            writer.write("finding", key=key, finding=wire.encode(finding))
        writer.write("loops", loops=wire.encode(self._watch.loops.made()))


def _fork() -> int:
    with warnings.catch_warnings():
        # From 3.12 on Python warns of forking where other threads run, as a server of the test's
        # may. The child does what the test asks for: to begin as a prefork child would.
        warnings.filterwarnings(
            "ignore", r"(?s).*use of fork\(\) may lead to deadlocks", DeprecationWarning
        )
        return os.fork()


def _end_with(parent: int) -> None:
    """In a child, on Linux: be killed with the tests, who may be and could then end nothing."""
    if sys.platform == "linux":
        with contextlib.suppress(Exception):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was before we had asked for it
            os._exit(1)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


# -- streams and processes of the child ------------------------------------------------------


def _flush(name: str) -> None:
    with contextlib.suppress(Exception):  # closed, or replaced by anything
        getattr(sys, name).flush()


def _kept_in_memory(name: str) -> tuple[Any, int] | None:
    """The stream and how much it holds, where that dies with the process."""
    stream = getattr(sys, name, None)
    try:
        return stream, len(stream.getvalue())  # type: ignore[union-attr]
    except Exception:  # noqa: BLE001 - not such a stream
        return None


def _printed_since(positions: dict[str, tuple[Any, int] | None]) -> dict[str, str]:
    found = {}
    for name, before in positions.items():
        with contextlib.suppress(Exception):
            if before is not None:
                text = before[0].getvalue()
                found[name] = text[before[1] :] if len(text) >= before[1] else text
    return found


def _child_processes() -> set[Any]:
    """The processes that multiprocessing and billiard know of, if anybody uses them."""
    found: set[Any] = set()
    for name in ("multiprocessing", "billiard"):
        with contextlib.suppress(Exception):
            found.update(sys.modules[name].active_children())
    return found


def _end_processes(strangers: set[Any]) -> None:
    """End the child's own processes, which ``atexit`` would end; never those of the parent."""
    own = _child_processes() - strangers
    deadline = clock.now() + _TO_JOIN
    for process in own:
        with contextlib.suppress(Exception):
            if not process.daemon:
                process.join(max(0.0, deadline - clock.now()))
            process.kill()
            process.join(_TO_JOIN)
