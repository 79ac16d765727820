"""One server's process: started on a free port, waited for, and surely ended."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SUPERVISOR = Path(__file__).with_name("server_supervisor.py")
START_SECONDS = 30.0
STOP_SECONDS = 15.0
LOG_TAIL = 2000


class ServerError(RuntimeError):
    """A server could not be started or used; the message names it and ends with its log."""


class ServerMissingError(ServerError):
    """There is no program to start; the message says what to install."""


@dataclass(frozen=True)
class Plan:
    """How to start one server.

    Attributes:
        name: for messages and the folder's name.
        command: the program and its arguments.
        ready: says whether the server on that port serves; may raise OSError.
        stop_signal: ends it quickly.
        user: the uid and gid to run as, if not our own.
    """

    name: str
    command: list[str]
    ready: Callable[[int], bool]
    stop_signal: int = signal.SIGTERM
    user: tuple[int, int] | None = None


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """A folder for a server's files; its supervisor removes it too, if we cannot."""
    folder = Path(tempfile.mkdtemp(prefix=f"loopsafe-{name}-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port that nobody else is given meanwhile: bound here, for the server to listen on.

    Both sides set SO_REUSEADDR, as all three servers do; so a bound socket that does not listen
    is not in the way of one that does.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@contextmanager
def running(plan: Plan, folder: Path, port: int) -> Iterator[None]:
    """The server, from the moment that it serves to its end."""
    with tempfile.TemporaryFile() as log:
        supervisor = _supervise(plan, folder, log)
        try:
            _wait_until_ready(plan, port, supervisor, log)
            yield
        finally:
            _end(plan, supervisor, log)


def _supervise(plan: Plan, folder: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    spec = {
        "command": plan.command,
        "folder": str(folder),
        "owner": os.getpid(),
        "stop_signal": int(plan.stop_signal),
        "user": plan.user,
    }
    return subprocess.Popen(
        [sys.executable, "-I", str(SUPERVISOR), json.dumps(spec)],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl+C is for the tests: they end first, and then the server
    )


def _wait_until_ready(
    plan: Plan, port: int, supervisor: subprocess.Popen[bytes], log: IO[bytes]
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if supervisor.poll() is not None:
            raise ServerError(f"{plan.name} ended while it was starting.{_tail(log)}")
        try:
            if plan.ready(port):
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise ServerError(f"{plan.name} did not answer within {START_SECONDS:g} s.{_tail(log)}")


def _end(plan: Plan, supervisor: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    """Let go of the supervisor, which ends the server; a stuck one is killed."""
    assert supervisor.stdin is not None
    ended_already = supervisor.poll() is not None
    with suppress(BrokenPipeError):  # it has ended by itself
        # To close it is not enough: a fork of this process that lives on, a worker, has it too.
        supervisor.stdin.write(b"\n")
        supervisor.stdin.close()
    try:
        supervisor.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.kill()  # on Linux the server dies with it
        supervisor.wait()
        raise ServerError(f"{plan.name} did not stop.{_tail(log)}") from None
    if ended_already and sys.exception() is None:
        raise ServerError(f"{plan.name} ended while it was in use.{_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    """The end of what the server has written."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL))
    return f" Its log ends:\n{log.read().decode(errors='replace').strip() or '(empty)'}"
