"""Real processes, marked in their environment: how they end, what they print, what they leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARK = "LOOPSAFE_SOAK"
_TO_GO = 5.0
"""Seconds for those that were told to end to be gone, on a machine that has other things to do."""
_MOMENT = 0.002


@dataclass(frozen=True)
class Ended:
    """How a program has ended.

    Attributes:
        code: its exit code, negative for a signal; None where it had to be killed for its time.
        text: what it has printed.
        seconds: how long that took.
        left: what still ran after it, each with its command.
    """

    code: int | None
    text: str
    seconds: float
    left: tuple[str, ...]


class Program:
    """A program and all that comes of it: whatever it forks has its mark.

    Args:
        command: the arguments for this Python.
        folder: where it runs, where its temporary files go, and where what it prints is kept.
        environment: more variables.
    """

    def __init__(self, command: list[str], folder: Path, **environment: str) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        self._printed = folder / "printed.txt"
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        name, _, value = self._mark.partition("=")
        clean = {
            key: one
            for key, one in os.environ.items()
            if not key.startswith(("LOOPSAFE_", "PYTEST_", "GITHUB_", "COV_")) and key != "CI"
        }
        paths = [str(folder), str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        self._began = time.monotonic()
        with self._printed.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env={
                    **clean,
                    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                    "TMPDIR": str(temporary),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    name: value,
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def send(self, number: int, *, to_group: bool = False) -> None:
        """Send a signal, as Ctrl-C does to all that run in the foreground or to it alone."""
        with suppress(ProcessLookupError):
            if self.runs():
                (os.killpg if to_group else os.kill)(self.pid, number)

    def printed(self) -> str:
        """What it has printed until now."""
        return self._printed.read_text(errors="replace")

    def wait_for(self, path: Path, seconds: float = 30.0) -> str | None:
        """What is in a file that the program writes in one step; None where it ends without."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(FileNotFoundError):
                return path.read_text()
            if not self.runs():
                return path.read_text() if path.exists() else None
            time.sleep(_MOMENT)
        return None

    def ended(self, seconds: float) -> Ended:
        """Wait for its end, at most so long, and then for all that it has left.

        What is left is killed once it is noted, so that one row leaves nothing to the next.
        """
        code: int | None = None
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(seconds)
        took = time.monotonic() - self._began
        left: tuple[str, ...] = ()
        if code is None:
            left = tuple(f"{pid} {_command(pid)}" for pid in self._marked() if pid != self.pid)
        else:
            deadline = time.monotonic() + _TO_GO
            while (remaining := list(self._marked())) and time.monotonic() < deadline:
                time.sleep(0.02)
            left = tuple(f"{pid} {_command(pid)}" for pid in remaining)
        self.kill()
        return Ended(code, self.printed(), took, left)

    def kill(self) -> None:
        """End all that has its mark."""
        while marked := list(self._marked()):
            for pid in marked:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)

    def _marked(self) -> Iterator[int]:
        mark = self._mark.encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with suppress(OSError):  # it has ended, or is a zombie, which has none
                    if mark in (folder / "environ").read_bytes().split(b"\0"):
                        yield int(folder.name)


def _command(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return f"({state}) {b' '.join(words).decode(errors='replace')[:120]}"
    return "(gone)"


_INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"


def pytest_in(folder: Path, *arguments: str, **environment: str) -> Program:
    """Pytest with the plugin, as a user has it: no settings but those that are given."""
    (folder / "pytest.ini").write_text(_INI)
    options = ["-p", "no:cacheprovider", "-p", "no:langsmith_plugin", "-v"]
    plugins = ("hypothesispytest", "randomly", "repeat", "rerunfailures", "socket", "timeout")
    for name in (*plugins, "aiohttp", "benchmark", "django", "pytest_cov"):
        options += ["-p", f"no:{name}"]
    command = ["-m", "pytest", *options, "--loopsafe-json=report.json", *arguments]
    return Program(command, folder, **environment)
