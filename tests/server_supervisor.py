"""Runs one server and ends it when its owner ends, however that comes about.

A process of its own, because the owner may be killed without a chance to clean up. It is told all
in one JSON argument, keeps the server in a process group of its own, and ends it as soon as its
standard input says something or closes (the owner let go or died) or its parent is another process
than it was.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
LOOK_AGAIN = 0.2
PATIENCE = 5.0


def die_with_supervisor() -> None:
    """Runs in the child before the server: on Linux even a killed supervisor takes it along."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start(command: list[str], folder: str, user: list[int] | None) -> subprocess.Popen[bytes]:
    """The server's process; `user` is the uid and gid to run as, if not our own."""
    other: dict[str, Any] = {}
    if user is not None:
        other = {"user": user[0], "group": user[1], "extra_groups": []}
    return subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=die_with_supervisor,
        **other,
    )


def wanted(owner: int) -> bool:
    """Wait a moment: does the owner hold the other end of our standard input in silence?"""
    readable, _, _ = select.select([sys.stdin], [], [], LOOK_AGAIN)
    return not readable and os.getppid() == owner


def stop(server: subprocess.Popen[bytes], stop_signal: int) -> None:
    """End the server the way it likes; then, in any case, whatever is left of its group."""
    if server.poll() is None:
        server.send_signal(stop_signal)
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    server.wait(PATIENCE)


def leave(*_: object) -> NoReturn:
    raise SystemExit(1)


def main() -> int:
    spec = json.loads(sys.argv[1])
    signal.signal(signal.SIGTERM, leave)
    server = None
    try:
        server = start(spec["command"], spec["folder"], spec["user"])
        while server.poll() is None and wanted(spec["owner"]):
            pass
        return server.returncode or 0
    finally:
        if server is not None:
            stop(server, spec["stop_signal"])
        shutil.rmtree(spec["folder"], ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
